"""The subject of a race: a recipe's networks with untrained weights, and the files made of them.

Files are made at the first request and kept in a folder, so that a machine without a GPU can make
them beforehand. Long work is not begun if the time left is too short for it.
"""

import functools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.subjects import untrained_run
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.hashes import HASHES, write_hashes
from ckd.contract.spec import NodeSpec
from ckd.contract.whole_file import new_folder
from ckd.contract.wiring import IMAGE
from ckd.data.synthetic.write import write_isic2017
from ckd.export.bundle import EDGE_DTYPES, write_bundle
from ckd.export.onnx import export_onnx
from ckd.train.fitting.run_folder import load_run
from ckd.train.folds import count_macs, folded
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import merged

#: Seconds that a piece of work takes, and additional seconds for each million weights. They are
#: estimates for one core of a server, only good enough to skip work that cannot be finished.
COSTS_S: Final = {
    "export": (15.0, 0.4),
    "one graph": (10.0, 0.2),
    "int8": (20.0, 1.0),
    "engines": (20.0, 0.3),
}
_NUM_CALIBRATION: Final = 16


class Subject:
    """One recipe.

    Args:
        name: of the recipe.
        folder: where its files are kept.
        deadline: of the whole measurement.

    Attributes:
        system: as trained, in evaluation mode, on the CPU.

    Raises:
        UsageError: no recipe of that name.
    """

    def __init__(self, name: str, folder: Path, deadline: Deadline) -> None:
        self.name, self.deadline = name, deadline
        self._folder = folder / name
        run = self._folder / "run"
        if not (run / "data.json").exists():  # which is written last
            shutil.rmtree(run, ignore_errors=True)
            untrained_run(name, run)
        _, system = load_run(run)
        self.system: System = system.eval()
        self._results: dict[tuple[str, str], Path | Exception] = {}

    @functools.cached_property
    def num_weights(self) -> int:
        """Number of weights of the exported networks."""
        return sum(weights.numel() for weights in folded(self.system).parameters())

    @functools.cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one image in the exported networks."""
        return count_macs(folded(self.system))

    def images(self, batch: int) -> NDArray[np.uint8]:
        """Generated dermoscopy images at network size, [B, S, S, 3]."""
        from ckd.data.synthetic.write import dermoscopy

        side = self.system.image_size
        return np.stack([dermoscopy(seed, side).image_HWC for seed in range(batch)])

    def check_time(self, kind: str) -> None:
        """Raise `UsageError` unless there is time for a kind of work, see `COSTS_S`."""
        fixed_s, per_million_s = COSTS_S[kind]
        what = f"{kind} of {self.name}"
        self.deadline.check(what, fixed_s + per_million_s * self.num_weights / 1e6)

    def bundle(self, precision: str) -> Path:
        """A bundle with files of this precision; after a failure, every call fails at once."""
        if precision == "int8":
            return self._once("int8", precision, self._quantise)
        return self._once("export", "float", self._export)

    def one_graph(self, precision: str) -> Path:
        """One ONNX file of the whole system as PyTorch exports it, without our folds."""
        return self._once("one graph", precision, lambda path: self._export_one(path, precision))

    def one_graph_bundle(self, precision: str) -> Path:
        """A bundle of that one file."""
        graph, like = self.one_graph(precision), Bundle(self.bundle(precision)).spec
        folder = self._folder / f"one-graph-bundle.{precision}"
        if (folder / HASHES).exists():
            return folder
        kept = {IMAGE, *like.outputs.names()}
        outputs = self._whole().nodes[0].outputs
        node = NodeSpec("whole", (IMAGE,), outputs, {precision: "whole.onnx"})
        spec = replace(
            like,
            nodes=(node,),
            shapes={name: shape for name, shape in like.shapes.items() if name in kept},
            dtypes={
                name: {precision: of[precision]} for name, of in like.dtypes.items() if name in kept
            },
        )
        with new_folder(folder) as new:
            new.path.mkdir()
            (new.path / "whole.onnx").write_bytes(graph.read_bytes())
            (new.path / CASCADE).write_text(spec_to_json(spec))
            write_hashes(new.path)
            new.keep()
        return folder

    def _once(self, kind: str, precision: str, make: Callable[[Path], None]) -> Path:
        """The file or folder of that kind, made earlier, or now if the time is enough."""
        path = self._folder / f"{kind.replace(' ', '-')}.{precision}"
        key = kind, precision
        if key not in self._results:
            try:
                if not path.exists():
                    self.check_time(kind)
                    make(path)
                self._results[key] = path
            except Exception as error:
                self._results[key] = error
        result = self._results[key]
        if isinstance(result, Exception):
            raise result
        return result

    def _export(self, path: Path) -> None:
        """Export FP32 as `ckd-export` does, and FP16 without the check of the answers.

        Untrained networks fail that check, as they amplify rounding.
        """
        with new_folder(path) as new:
            folder = new.path
            write_bundle(self.system, folder, name=self.name, provenance={"purpose": "benchmark"})
            spec, deployed = Bundle(folder).spec, folded(self.system)
            for node in deployed.nodes:
                export_onnx(node, deployed, folder / f"{node.name}.fp16.onnx", "fp16")
            both = replace(
                spec,
                nodes=tuple(
                    replace(node, files={**node.files, "fp16": f"{node.name}.fp16.onnx"})
                    for node in spec.nodes
                ),
                dtypes={
                    name: {**of, "fp16": "uint8" if name == IMAGE else EDGE_DTYPES["fp16"]}
                    for name, of in spec.dtypes.items()
                },
            )
            (folder / CASCADE).write_text(spec_to_json(both))
            write_hashes(folder)
            new.keep()

    def _quantise(self, path: Path) -> None:
        data = self._folder / "images"
        side = self.system.image_size
        write_isic2017(data, num_train=_NUM_CALIBRATION, num_val=1, side_px=side)
        images = {file.name: file for file in sorted(data.rglob("*_Training_Data/*.jpg"))}
        setting = QuantSetting(method="minmax")
        quantise_bundle(Bundle(self.bundle("fp16")), images, path, setting=setting)

    def _export_one(self, path: Path, precision: str) -> None:
        whole, part = self._whole(), path.with_suffix(".part")
        export_onnx(whole.nodes[0], whole, part, precision)
        part.replace(path)

    def _whole(self) -> System:
        return merged(self.system, [node.name for node in self.system.nodes], "whole").eval()

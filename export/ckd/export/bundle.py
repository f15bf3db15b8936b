"""Make a bundle: fold and export every node, wire them, prove the chain, record golden cases."""

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckd.console import Bars, no_bars
from ckd.contract.bundle import CASCADE, Bundle, check_new
from ckd.contract.card import MODEL_CARD
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import UsageError
from ckd.contract.hashes import write_hashes
from ckd.contract.labels import headline_tasks
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import DType
from ckd.contract.whole_file import new_folder
from ckd.contract.wiring import IMAGE
from ckd.export.model_card import Evidence, model_card
from ckd.export.onnx import export_onnx
from ckd.export.parity import TOLERANCE, TensorParity, case_images, check_parity, expected_tensors
from ckd.export.verify import check_acceptance
from ckd.runtime.acceptance import verdicts_of
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.cases import CASES, TOLERANCES, Tolerance, pack_cases
from ckd.runtime.verdicts import VERDICTS
from ckd.train.folds import count_macs, folded
from ckd.train.folds.exported import TORCH_DTYPES
from ckd.train.systems.graph import System, tensor_shapes

#: Type of the tensors between the networks, by the precision of their files.
EDGE_DTYPES: Mapping[str, DType] = {"fp32": "float32", "fp16": "float16"}

#: Tolerances by the precision computed in. In FP32 rounding may move a border pixel; half precision
#: keeps 11 bits, bfloat16 8. Class maps of a trained MobileNetV2 cascade were seen 0.001, 0.04 and
#: 0.28 off, single features of its 1280 0.002, 0.07 and 0.54.
ACCEPTANCE = {
    "fp32": Tolerance(mask_jaccard=0.99, probability=0.005, class_map=0.05, features=0.05),
    "fp16": Tolerance(mask_jaccard=0.98, probability=0.02, class_map=0.5, features=0.5),
    "bf16": Tolerance(mask_jaccard=0.95, probability=0.05, class_map=1.0, features=2.0),
}


@dataclass(frozen=True, slots=True)
class ExportReport:
    """Measurements of a bundle from when it was written.

    Attributes:
        parity: by precision, how far each tensor of the chain lies from PyTorch's in FP32.
        macs_trained: multiply-accumulates of an image in the system as trained.
        macs_exported: in the networks of the bundle, see `ckd.train.folds`.
        num_networks: of the bundle.
    """

    parity: Mapping[str, tuple[TensorParity, ...]]
    macs_trained: int
    macs_exported: int
    num_networks: int


def write_bundle(
    system: System,
    out: Path,
    *,
    name: str,
    provenance: Mapping[str, Any],
    evidence: Evidence | None = None,
    precisions: Sequence[str] = ("fp32",),
    bars: Bars = no_bars,
) -> ExportReport:
    """Write a bundle folder, or nothing if the exported chain disagrees with PyTorch.

    Args:
        system: trained and deployed (`ckd.train.systems.rewrite`).
        out: folder to create.
        name: of the bundle.
        provenance: where the weights come from; goes into `cascade.json` and the model card.
        evidence: scores, learning curves and notes for the model card.
        precisions: of the files to write for each network, "fp32" and "fp16".
        bars: begins one bar for the export, and one for the comparison with PyTorch.

    Raises:
        GateFailed: a chain disagrees with PyTorch.
        UsageError: ``out`` exists, or an unknown precision.
    """
    if unknown := [p for p in precisions if p not in TORCH_DTYPES]:
        raise UsageError(f"unknown precision {unknown[0]!r}; expected {', '.join(TORCH_DTYPES)}")
    if "fp32" not in precisions:
        raise UsageError("a bundle holds fp32 files, which every backend takes; add fp32")
    check_new(out)
    system.eval()
    deployed = folded(system)
    with new_folder(out) as new:
        folder = new.path
        (folder / "acceptance").mkdir(parents=True)
        exports = list(itertools.product(precisions, deployed.nodes))
        progress = bars("export")
        for done, (precision, node) in enumerate(exports):
            progress(done, len(exports))
            export_onnx(node, deployed, folder / _file(node.name, precision), precision)
        progress(len(exports), len(exports))
        spec = _spec(system, name, provenance, precisions)
        (folder / CASCADE).write_text(spec_to_json(spec))
        images = case_images(system)
        expected = expected_tensors(system, deployed, images)
        answers = {tensor: expected[tensor] for tensor in spec.outputs.names()}
        (folder / CASES).write_bytes(pack_cases(images, answers))
        (folder / TOLERANCES).write_text(
            json.dumps({precision: asdict(limits) for precision, limits in ACCEPTANCE.items()})
            + "\n"
        )
        evidence = evidence or Evidence()
        (folder / MODEL_CARD).write_text(model_card(spec, evidence))
        if evidence.scores is not None:
            scores = json.dumps(evidence.scores, indent=2)
            (folder / "evaluation.json").write_text(scores + "\n")
        if evidence.learning_curves is not None:
            shutil.copy(evidence.learning_curves, folder / evidence.learning_curves.name)
        write_hashes(folder)
        (folder / VERDICTS).write_bytes(verdicts_of(Bundle(folder)))
        write_hashes(folder)
        bundle = Bundle(folder)
        parity = {}
        progress = bars("compare with PyTorch")
        for done, precision in enumerate(precisions):
            progress(done, len(precisions))
            with Cascade(bundle, open_backend("onnxruntime", "cpu", None), precision) as cascade:
                parity[precision] = tuple(
                    check_parity(cascade, images, expected, TOLERANCE[precision])
                )
                check_acceptance(cascade, bundle)
        progress(len(precisions), len(precisions))
        new.keep()
    return ExportReport(parity, count_macs(system), count_macs(deployed), len(deployed.nodes))


def _spec(
    system: System, name: str, provenance: Mapping[str, Any], precisions: Sequence[str]
) -> CascadeSpec:
    shapes = dict(tensor_shapes(system))
    shapes[IMAGE] = (1, system.image_size, system.image_size, 3)
    return CascadeSpec(
        name=name,
        system=system.name,
        labels=system.labels,
        tasks=headline_tasks(system.tasks, system.labels),
        shapes=shapes,
        dtypes={
            t: {p: "uint8" if t == IMAGE else EDGE_DTYPES[p] for p in precisions} for t in shapes
        },
        nodes=tuple(
            NodeSpec(
                node.name, node.inputs, node.outputs, {p: _file(node.name, p) for p in precisions}
            )
            for node in system.nodes
        ),
        outputs=system.outputs,
        # The official scorers cut diagnoses at one half.
        mask_threshold=system.mask_threshold,
        provenance=provenance,
    )


def _file(node: str, precision: str) -> str:
    return f"{node}.{precision}.onnx"

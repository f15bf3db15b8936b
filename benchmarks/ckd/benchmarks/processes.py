"""Time and memory of fresh processes: start-up, import, one image, and each contender."""

import contextlib
import importlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from ckd.benchmarks.contenders import (
    CascadeContender,
    CascadeSetting,
    SystemContender,
    frame,
    write_jpeg,
)
from ckd.benchmarks.measure import (
    file_pages_mb,
    fresh_process,
    latency_from_samples,
    peak_memory_mb,
)
from ckd.benchmarks.peers import open_peer
from ckd.benchmarks.report import Kind, Memory, Startup
from ckd.contract.bundle import Bundle
from ckd.contract.parsing import parse_json
from ckd.runtime.signed import embedded_bundle

#: By contender other than the chain: the module that is imported before it loads its networks.
_LIBRARIES: Final[Mapping[Kind, str]] = {
    "fused": "onnxruntime",
    "pytorch": "ckd.train.fitting.fit",
}


def startup(
    bundle: Path | None = None, *, setting: CascadeSetting, runs: int = 5
) -> tuple[Startup, ...]:
    """Time and memory of fresh processes: bare interpreter, import, one image by `ckd-run`."""
    frame_HWC = frame()
    with tempfile.TemporaryDirectory() as name:
        jpeg = write_jpeg(frame_HWC, Path(name) / "frame.jpg")
        run_image = ["-m", "ckd.runtime.cli", "image", str(jpeg), "--out", f"{name}/results"]
        # Always named: CKD_BUNDLE would choose another than the one that is measured.
        run_image += ["--bundle", str(bundle or embedded_bundle())]
        run_image += ["--backend", setting.backend, "--precision", setting.precision]
        run_image += ["--device", setting.device]
        run_image += ["--threads", str(setting.threads)]
        commands = {
            "`python -c pass`": ["-c", "pass"],
            "`from ckd.runtime import Cascade`": ["-c", "from ckd.runtime import Cascade"],
            "`ckd-run image`, one frame": run_image,
        }
        taken_ms: dict[str, list[float]] = {what: [] for what in commands}
        peaks_mb = dict.fromkeys(commands, 0.0)
        for turn in range(1 + runs):  # the first one fills the page cache
            for what, arguments in commands.items():
                use = fresh_process([sys.executable, *arguments])
                peaks_mb[what] = max(peaks_mb[what], use.peak_mb)
                if turn:
                    taken_ms[what].append(use.wall_ms)
    return tuple(
        Startup(what, latency_from_samples(samples_ms, 1), peaks_mb[what])
        for what, samples_ms in taken_ms.items()
    )


def memory_of(kind: Kind, source: Path, bundle: Path, setting: CascadeSetting) -> Memory:
    """Peak memory of a fresh process that runs one contender a few times."""
    code = "import sys; from ckd.benchmarks.processes import print_memory as p; p(*sys.argv[1:])"
    arguments = [kind, str(source), str(bundle)]
    arguments += [setting.backend, setting.device, setting.precision, str(setting.threads)]
    return Memory(*parse_json(fresh_process([sys.executable, "-c", code, *arguments]).output))


def print_memory(
    kind: Kind,
    source: str,
    bundle: str,
    backend: str,
    device: str,
    precision: str,
    threads: str,
) -> None:
    """The child process of `memory_of`: run one contender a few times and print its memory."""
    importlib.import_module(_LIBRARIES.get(kind, f"ckd.runtime.backends.{backend}"))
    libraries_mb = peak_memory_mb()
    frame_HWC = np.full((1080, 1920, 3), 128, np.uint8)
    with contextlib.ExitStack() as stack:
        step: CascadeContender | SystemContender
        if kind == "chain":
            setting = CascadeSetting(
                backend=backend, device=device, precision=precision, threads=int(threads)
            )
            cascade = stack.enter_context(setting.load(bundle))
            step = CascadeContender(cascade, frame_HWC)
        else:
            opened = Bundle(Path(bundle))
            infer = open_peer(kind, Path(source), opened.spec, int(threads), stack)
            step = SystemContender(infer, opened, frame_HWC)
        for _ in range(3):
            step()
    print(json.dumps([libraries_mb, peak_memory_mb(), file_pages_mb()]))

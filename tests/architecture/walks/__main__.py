"""Makes the figures of docs/architecture.md anew: `python -m tests.architecture.walks`.

With the name of a walk only that one; with `--print`, nothing is written, and the walk is given as
JSON on the last line. Every walk runs in a process and a folder of its own, since what was imported
or kept before changes which functions are called.
"""

import importlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from tests.architecture.walks import house
from tests.architecture.walks.drawing import svg
from tests.architecture.walks.rooms import ROOT
from tests.architecture.walks.tracer import record

from ckd.data.synthetic.write import dermoscopy, write_isic2017
from ckd.finding.files import write_png

FIGURES: Final = ROOT / "docs" / "walks"
_TINY: Final = f"--bundle {ROOT / 'tests' / 'assets' / 'tiny_bundle'}"
#: Title and command of every walk; the backend is named so that the others need not be installed.
WALKS: Final[Mapping[str, tuple[str, str]]] = {
    "image": (
        "One image: ckd-run image photo.png",
        f"ckd-run image photo.png {_TINY} --backend onnxruntime --out out",
    ),
    "frame": (
        "One frame: ckd-run camera clip.avi --record seen.mkv --max-frames 1",
        f"ckd-run camera clip.avi {_TINY} --backend onnxruntime --view none --max-frames 1 "
        "--record seen.mkv",
    ),
    "recipe": (
        "One recipe: ckd-train fit --recipe ckdnet-tiny",
        "ckd-train fit --recipe ckdnet-tiny --data data --weights none --accelerator cpu --out out "
        + " ".join(f"--set stages.{stage}.epochs=1" for stage in ("rootseg", "cls", "seg")),
    ),
    "quantisation": (
        "One quantisation: ckd-calibrate quantize photos",
        f"ckd-calibrate quantize photos {_TINY} --out out --limit 50",
    ),
    "choice": (
        "The choice of a backend: not drawn, as it depends on the backends that are installed",
        f"ckd-run image photo.png {_TINY} --out out",
    ),
}
DRAWN: Final = [name for name in WALKS if name != "choice"]


def trace(name: str) -> dict[str, object]:
    """Carry a walk's command out in this process, in the current folder, and record it."""
    title, command = WALKS[name]
    _make_inputs(name)
    sys.argv = shlex.split(command)
    package = {"run": "runtime", "train": "train", "calibrate": "calibration"}
    cli = importlib.import_module(f"ckd.{package[sys.argv[0].removeprefix('ckd-')]}.cli")
    tracer = record(cli.main)
    assert tracer.walk is not None
    return {"figure": svg(tracer.walk, title), "returns": list(tracer.returns)}


def _make_inputs(name: str) -> None:
    if name == "recipe":
        write_isic2017(Path("data"), num_train=6, num_val=4, side_px=64, seed=0)
    images = [dermoscopy(seed, side_px=48).image_HWC for seed in range(50)]
    Path("photos").mkdir()
    for number, image_HWC in enumerate(images if name == "quantisation" else images[:1]):
        write_png(Path("photos") / f"{number:02}.png", image_HWC)
    shutil.copy(Path("photos") / "00.png", "photo.png")
    if name == "frame":
        import cv2

        writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 48))
        for _ in range(10):
            writer.write(np.ascontiguousarray(images[0][..., ::-1]))
        writer.release()


def in_own_process(name: str, folder: Path) -> tuple[str, list[str]]:
    """The figure of a walk, and which calls went back up; ``folder`` is an empty one."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "CKD_CACHE": str(folder / "cache"), "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.architecture.walks", name, "--print"]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
    record = json.loads(done.stdout.splitlines()[-1])
    return record["figure"], record["returns"]


def main() -> None:
    """Write the figures, and say which calls went back up."""
    names = [name for name in sys.argv[1:] if name in WALKS] or DRAWN
    if "--print" in sys.argv:
        print(json.dumps(trace(*names)))
        return
    FIGURES.mkdir(exist_ok=True)
    (FIGURES / "house.svg").write_text(house.svg())
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            figure, returns = in_own_process(name, Path(folder))
        (FIGURES / f"{name}.svg").write_text(figure)
        print(f"{FIGURES / name}.svg", *returns, sep="\n    goes back up: ")


if __name__ == "__main__":
    main()

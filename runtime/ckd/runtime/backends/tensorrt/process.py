"""Builds each TensorRT engine in a new process, so that whatever goes wrong is one error here.

Building can exhaust the device's memory, which TensorRT reports in many ways, or the host's, which
ends the process; some graphs crash TensorRT. A new process also holds no weights or kernels of an
earlier engine.
"""

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ckd import console
from ckd.contract.errors import EngineError
from ckd.contract.parsing import parse_json

_log = logging.getLogger(__name__)

BUILDER: Final = "ckd.runtime.backends.tensorrt.build"
#: Share of the free device memory for the workspace of one layer; the engine needs the rest.
WORKSPACE_SHARE: Final = 0.75

_MORE_MEMORY: Final = (
    "close what else uses this GPU (on a Jetson also the desktop), or take fp16, which needs half"
)


def build_engine(
    network: str, precision: str, onnx: bytes, free_bytes: int = 0, device_index: int = 0
) -> bytes:
    """Build an engine, with a progress bar on a terminal.

    Args:
        network: its name, for messages.
        precision: likewise for messages; the file decides what is built.
        onnx: the file.
        free_bytes: device memory that can be used; 0 leaves the workspace to TensorRT.
        device_index: of the GPU to build on.

    Raises:
        EngineError: one line with network, precision, what went wrong and the remedy.
    """
    what = f"{network} ({precision})"
    tell = console.progress_bar(f"build {what}")
    with tempfile.TemporaryDirectory(prefix="ckd-engine-") as folder:
        source, plan, log = (Path(folder) / name for name in ("network.onnx", "plan", "stderr"))
        source.write_bytes(onnx)
        workspace = str(int(WORKSPACE_SHARE * free_bytes))
        command = [sys.executable, "-m", BUILDER, str(source), str(plan), workspace]
        outcome: dict[str, Any] = {}
        try:
            with (
                log.open("wb") as stderr,
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    env=_environment(os.environ, device_index),
                ) as process,
            ):
                try:
                    assert process.stdout is not None
                    for line in process.stdout:
                        if not line.endswith("\n"):  # the process ended in the middle of a line
                            break
                        event = parse_json(line)
                        outcome |= event
                        if "progress" in event:
                            tell(min(99, int(100 * event["progress"])), 100)
                except BaseException:
                    process.kill()
                    raise
        finally:
            tell(100, 100)
        if process.returncode == 0 and plan.exists():
            for line in outcome.get("said", ()):
                _log.info("%s: %s", what, line)
            return plan.read_bytes()
        raise EngineError(f"cannot build {what}: {_failure(process.returncode, outcome, log)}")


def _failure(code: int, outcome: Mapping[str, Any], log: Path) -> str:
    if outcome.get("memory"):
        return f"memory ran out ({outcome['error']}); {_MORE_MEMORY}"
    if "error" in outcome:
        return str(outcome["error"])
    if code == -signal.SIGKILL:
        return f"its process was killed, as happens when memory runs out; {_MORE_MEMORY}"
    if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        return f"its process was ended from outside ({signal.Signals(-code).name}); build again"
    if code < 0:
        return (
            f"TensorRT crashed ({signal.Signals(-code).name}); the network holds what it cannot "
            "build: try another precision, or export the bundle again"
        )
    lines = log.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")


def _environment(ours: Mapping[str, str], device_index: int) -> dict[str, str]:
    """Environment of the builder: it sees the chosen GPU only, and imports nothing from here.

    TensorRT builds on the GPU that is current, which is the first one by default.
    """
    ours = {**ours, "PYTHONSAFEPATH": "1"}
    if device_index == 0:
        return ours
    visible = ours.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else []
    chosen = names[device_index] if device_index < len(names) else str(device_index)
    return {**ours, "CUDA_VISIBLE_DEVICES": chosen}

"""A process that builds one TensorRT engine; it may run out of memory or crash.

    python -m ckd.runtime.backends.tensorrt.build NETWORK.onnx ENGINE.plan WORKSPACE_BYTES

Standard output carries one JSON object per line: ``{"progress": 0.4}``, then ``{"said": [...]}``
with warnings if it succeeded, or ``{"error": "...", "memory": false}`` if not. `process`, beside
this, reads them.

No TensorRT runtime object is made here, so no driver is needed where TensorRT builds without one.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

from ckd.contract.errors import CkdError, EngineError
from ckd.runtime.backends.tensorrt.sdk import (
    TensorRt,
    import_tensorrt,
    memory_ran_out,
    strongly_typed_flag,
    worst_line,
)
from ckd.runtime.engine import first_line

#: What `set_options` sets; part of the key that engines are kept under.
OPTIONS: Final = "strongly typed, no TF32, memory of the application's"


class BuildProgress:
    """Sums TensorRT's nested phases up to one share of the whole, which never falls.

    Args:
        tell: called with the share, 0 to 1, whenever it has risen by half a percent or more.
    """

    def __init__(self, tell: Callable[[float], object]) -> None:
        self._tell = tell
        self._phases: dict[str, _Phase] = {}
        self._last_share = 0.0
        self._lock = threading.Lock()  # TensorRT reports from several threads

    def start(self, name: str, parent: str | None, num_steps: int) -> None:
        """A phase begins, within a step of its parent."""
        with self._lock:
            self._phases[name] = _Phase(self._phases.get(parent or ""), max(1, num_steps))

    def step(self, name: str) -> None:
        """A phase has done one more step."""
        with self._lock:
            if (phase := self._phases.get(name)) is None:
                return
            phase.done += 1
            share = phase.share_of_the_whole()
            if share < self._last_share + 0.005:  # a smaller step is not visible
                return
            self._last_share = share
        self._tell(share)

    def finish(self, name: str) -> None:
        """A phase is over, whether or not all its steps were reported."""
        with self._lock:
            self._phases.pop(name, None)


class _Phase:
    def __init__(self, parent: "_Phase | None", num_steps: int) -> None:
        self.parent, self.num_steps, self.done = parent, num_steps, 0

    def share_of_the_whole(self) -> float:
        phase, share = self, min(1.0, self.done / self.num_steps)
        while phase.parent is not None:
            phase = phase.parent
            share = min(1.0, (phase.done + share) / phase.num_steps)
        return share


def build(
    tensorrt: TensorRt,
    network: Path,
    workspace_bytes: int,
    tell: Callable[[float], object],
    said: list[str],
) -> Any:
    """The serialised engine of an ONNX file, in the precision that the file says.

    Args:
        tensorrt: to build with.
        network: ONNX, of static shapes.
        workspace_bytes: device memory that one layer may take; 0 leaves it to TensorRT.
        tell: called with the share that is done; if it raises `OSError`, the build is given up.
        said: filled with TensorRT's warnings and errors.

    Raises:
        EngineError: TensorRT cannot read or build it.
    """
    trt = tensorrt.trt
    log = tensorrt.log()
    log.lines = said
    builder = trt.Builder(log)
    flags = strongly_typed_flag(trt)
    assert flags is not None  # else it would not have been imported
    graph = builder.create_network(flags)
    parser = trt.OnnxParser(graph, log)
    if not parser.parse_from_file(str(network)):
        raise EngineError(f"TensorRT cannot read it: {_parser_error(parser, said)}")
    for index in range(graph.num_inputs):
        tensor = graph.get_input(index)
        if isinstance(spec := tensorrt.spec(tensor.name, tensor.shape, tensor.dtype), str):
            raise EngineError(f"{spec} is no static tensor of a known type")
    config = builder.create_builder_config()
    set_options(trt, config, workspace_bytes)
    monitor = _monitor(trt, tell)
    if monitor is not None and hasattr(config, "progress_monitor"):
        config.progress_monitor = monitor
    plan = builder.build_serialized_network(graph, config)
    if plan is None:
        raise EngineError(f"TensorRT cannot build it: {worst_line(said)}")
    return plan


def set_options(trt: Any, config: Any, workspace_bytes: int) -> None:
    """Set what does not follow from the network, as `OPTIONS` says.

    TF32 is off: it keeps 10 bits of a factor, as half precision does, and the FP16 files are for
    users who accept that. TensorRT-RTX can be captured in a CUDA graph only if the application
    allocates its memory.
    """
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if workspace_bytes and hasattr(trt, "MemoryPoolType"):
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)


def _monitor(trt: Any, tell: Callable[[float], object]) -> Any:
    """An object that TensorRT reports its progress to; None if this TensorRT cannot report it."""
    if not hasattr(trt, "IProgressMonitor"):
        return None
    progress = BuildProgress(tell)

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, name: str, parent: str | None, num_steps: int) -> None:
            progress.start(name, parent, num_steps)

        def step_complete(self, name: str, step: int) -> bool:
            try:
                progress.step(name)
            except OSError:  # the process that asked for the engine has ended
                return False
            return True

        def phase_finish(self, name: str) -> None:
            progress.finish(name)

    return Monitor()


def _parser_error(parser: Any, said: list[str]) -> str:
    """The first error of the parser with the node it is about, without the assertion's code."""
    if not parser.num_errors:
        return worst_line(said)
    error = parser.get_error(0)
    lines = [line for line in error.desc().splitlines() if line.strip()]
    # Some errors begin with a line that only names the node.
    useful = [line for line in lines if not line.startswith("Invalid Node")] or lines
    message = re.sub(r"^Assertion failed: .*?\): ", "", " ".join(useful[:1]).strip())
    # TensorRT before 10.0 names no node, and an error about the file has an empty name.
    node = getattr(error, "node_name", str)()
    return f"{node}: {message}" if node else message


def main(network: str, engine: str, workspace_bytes: str) -> int:
    """Build, and report in lines of JSON; gives the exit code, 1 after an error."""
    events = _own_stdout()
    said: list[str] = []

    def report(**event: object) -> None:
        print(json.dumps(event), file=events, flush=True)

    try:
        plan = build(
            import_tensorrt(),
            Path(network),
            int(workspace_bytes),
            lambda share: report(progress=share),
            said,
        )
        Path(engine).write_bytes(plan)
    except Exception as error:  # TensorRT's own exceptions give no reason; its log does
        message = (
            str(error)
            if isinstance(error, CkdError)
            else f"{first_line(error)}; {worst_line(said)}"
        )
        memory = isinstance(error, MemoryError) or memory_ran_out(message)
        report(error=message, memory=memory)
        return 1
    report(said=said)
    return 0


def _own_stdout() -> IO[str]:
    """Standard output for events alone: what libraries print goes to standard error from now on."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

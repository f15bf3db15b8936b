"""Who races: every way to run a subject on a device, and why those that cannot run do not.

The names say what exactly runs; a batch is one call in PyTorch, and one image after another for
graphs that were exported for one image.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.pytorch import TorchStep, idle_compilers_after, torch_system
from ckd.benchmarks.gpu.steps import Logits, OnnxStep, Step, open_ckd
from ckd.benchmarks.gpu.subject import Subject
from ckd.benchmarks.same_networks import logit_error
from ckd.contract.errors import UsageError
from ckd.runtime.engine import first_line

#: Part of the time left that one contender may take until it can race. `torch.compile` tries out
#: kernels for minutes, and whoever comes after it must still be able to be measured against it.
_SHARE: Final = 0.5
_COMPILE_SHARE: Final = 0.6
#: Part of the time left that one contender's turns may take.
_TURNS_SHARE: Final = 0.2
#: What all others are measured against, in time and in answers.
REFERENCE: Final = "PyTorch eager FP32"

#: FP32 logits that differ by more than this part of the largest are not of the same networks. Wide,
#: since untrained networks amplify what cuDNN's algorithms round differently.
_SAME_NETWORKS: Final = 0.25

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender that may or may not be able to run.

    Attributes:
        share: of the time left, which opening and the first two calls may take.
    """

    name: str
    precision: str
    open: Callable[[Images], Step]
    share: float = _SHARE


@dataclass(frozen=True, slots=True)
class Absent:
    """A contender that did not run, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """Those that can run, with how far their answers lie from the reference's."""

    entries: Mapping[str, Entry]
    steps: Mapping[str, Step]
    logit_errors: Mapping[str, float | None]
    absent: tuple[Absent, ...]


def entries(subject: Subject, device: str, compiler: str = "inductor") -> Iterator[Entry]:
    """Everything that could race on a device, the most telling first: time may run out.

    PyTorch compiled is what ours is measured against, so it opens before anything is exported.
    """

    def eager(precision: str) -> Callable[[Images], Step]:
        return lambda images: TorchStep(
            torch_system(subject.system, precision, device), images, device
        )

    def compiled(images: Images) -> Step:
        system = torch_system(subject.system, "fp16", device)
        with idle_compilers_after():
            return TorchStep(system, images, device, compiled=True, compiler=compiler)

    def graph(precision: str) -> Callable[[Images], Step]:
        return lambda images: OnnxStep(lambda: subject.one_graph(precision), images, device)

    def ckd(
        backend: str, precision: str, *, whole: bool = False, in_line: bool = False
    ) -> Callable[[Images], Step]:
        def bundle() -> Path:
            made = (subject.one_graph_bundle if whole else subject.bundle)(precision)
            if backend == "tensorrt":
                subject.check_time("engines")
            return made

        return lambda images: open_ckd(bundle, backend, precision, images, device, in_line=in_line)

    def ours(backend: str, precision: str) -> Entry:
        return Entry(f"ckd, {backend} {precision.upper()}", precision, ckd(backend, precision))

    yield Entry(REFERENCE, "fp32", eager("fp32"))
    yield Entry("PyTorch eager FP16", "fp16", eager("fp16"))
    yield Entry("torch.compile max-autotune FP16", "fp16", compiled, _COMPILE_SHARE)
    yield ours("tensorrt", "fp16")
    yield ours("onnxruntime", "fp16")
    # What it is worth that networks run side by side; on ONNX Runtime they never do.
    in_line = ckd("tensorrt", "fp16", in_line=True)
    yield Entry("ckd, tensorrt FP16, one network at a time", "fp16", in_line)
    yield ours("onnxruntime", "fp32")
    yield ours("tensorrt", "fp32")
    yield Entry("ONNX Runtime, one graph FP16", "fp16", graph("fp16"))
    yield Entry("ONNX Runtime, one graph FP32", "fp32", graph("fp32"))
    yield Entry("TensorRT, one graph FP16", "fp16", ckd("tensorrt", "fp16", whole=True))
    yield ours("tensorrt", "int8")
    yield Entry("PyTorch INT8", "int8", _none_in_pytorch)


def open_all(
    wanted: Iterator[Entry],
    images_BSS3: Images,
    stack: ExitStack,
    deadline: Deadline,
    *,
    num_turns: int,
    say: Callable[[str], None],
) -> Opened:
    """Open and run each twice; whoever cannot, or gives other answers in FP32, is listed as absent.

    So is who takes more than its share of the time: to open, or for the turns that it would have.

    Args:
        wanted: the reference first.
        images_BSS3: for all of them.
        stack: closes those that were opened.
        deadline: of the races of this subject.
        num_turns: that each will have at least.
        say: is told what happens, since some of it takes minutes.
    """
    running: dict[str, Entry] = {}
    steps: dict[str, Step] = {}
    errors: dict[str, float | None] = {}
    absent: list[Absent] = []
    expected: Logits | None = None
    for entry in wanted:
        say(f"{entry.name} ...")
        try:
            with deadline.stopping(entry.name, entry.share):
                step = entry.open(images_BSS3)
                stack.callback(_close, entry.name, step, say)
                step()  # the first call initialises, the second shows that it can be called again
                start_s = time.perf_counter()
                step()
                call_s = time.perf_counter() - start_s
            deadline.check(f"its {num_turns} turns", num_turns * call_s, _TURNS_SHARE)
            given = _of_last_image(step.logits())
            error = _compared(entry, given, expected)
        except Exception as failure:  # one that cannot run must not end the race of the others
            absent.append(Absent(entry.name, reason_of(failure)))
            say(f"{entry.name} does not race: {absent[-1].reason}")
            continue
        if entry.name == REFERENCE:
            expected, error = given, 0.0
        name = entry.name + step.caveat
        running[name], steps[name], errors[name] = replace(entry, name=name), step, error
    return Opened(entries=running, steps=steps, logit_errors=errors, absent=tuple(absent))


def reason_of(error: Exception) -> str:
    """Why a contender is absent, in one line."""
    return f"{type(error).__name__}: {first_line(error)}"


def _close(name: str, step: Step, say: Callable[[str], None]) -> None:
    """Whoever cannot even be closed, for the device is lost, must not take the others' figures."""
    try:
        step.close()
    except Exception as error:
        say(f"{name} could not be closed: {reason_of(error)}")


def _of_last_image(logits: Logits) -> Logits:
    return {name: values[-1:].astype(np.float32) for name, values in logits.items()}


def _compared(entry: Entry, given: Logits, expected: Logits | None) -> float | None:
    """How far the answers lie apart, as a part of the largest; `UsageError` in FP32 if too far."""
    if expected is None:
        return None
    error = logit_error(given, expected)
    if entry.precision == "fp32" and not error <= _SAME_NETWORKS:
        raise UsageError(f"its logits differ from PyTorch's by {error:.2g} of the largest")
    return error


def _none_in_pytorch(images: Images) -> Step:
    raise UsageError("PyTorch itself has no INT8 convolutions for CUDA")

"""The contenders of a race: every way to run a subject on a device, and why some cannot run.

The names say what exactly runs. A batch is one call in PyTorch, and one image after another for
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

from ckd.benchmarks.gpu.cascade_step import open_ckd
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.pytorch import TorchStep, idle_compilers_after, torch_system
from ckd.benchmarks.gpu.steps import Logits, OnnxStep, Step
from ckd.benchmarks.gpu.subject import Subject
from ckd.benchmarks.same_networks import logit_error
from ckd.contract.errors import UsageError
from ckd.runtime.engine import first_line

#: Part of the time left that one contender may take until it can race. `torch.compile` tries out
#: kernels for minutes, and the contenders after it need time to be measured against it.
_SHARE: Final = 0.5
_COMPILE_SHARE: Final = 0.6
#: Part of the time left that one contender's turns may take.
_TURNS_SHARE: Final = 0.2
#: The contender that all others are measured against, in time and in answers.
REFERENCE: Final = "PyTorch eager FP32"

#: FP32 logits that differ by more than this part of the largest are not of the same networks. Wide,
#: since untrained networks amplify what cuDNN's algorithms round differently.
_SAME_NETWORKS: Final = 0.25

Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Entry:
    """One contender, which may turn out to be unable to run.

    Attributes:
        share: part of the time left that opening and the first two calls may take.
    """

    name: str
    precision: str
    open: Callable[[Images], Step]
    share: float = _SHARE


@dataclass(frozen=True, slots=True)
class Absent:
    """A contender that did not run, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The contenders that can run, with the distance of their answers from the reference's."""

    entries: Mapping[str, Entry]
    steps: Mapping[str, Step]
    logit_errors: Mapping[str, float | None]
    absent: tuple[Absent, ...]


def entries(subject: Subject, device: str, compiler: str = "inductor") -> Iterator[Entry]:
    """Everything that could race on a device, the most important first, as time may run out.

    Compiled PyTorch is the main peer of ours, so it opens before anything is exported.
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
            folder = (subject.one_graph_bundle if whole else subject.bundle)(precision)
            if backend == "tensorrt":
                subject.check_time("engines")
            return folder

        return lambda images: open_ckd(bundle, backend, precision, images, device, in_line=in_line)

    def ours(backend: str, precision: str) -> Entry:
        return Entry(f"ckd, {backend} {precision.upper()}", precision, ckd(backend, precision))

    yield Entry(REFERENCE, "fp32", eager("fp32"))
    yield Entry("PyTorch eager FP16", "fp16", eager("fp16"))
    yield Entry("torch.compile max-autotune FP16", "fp16", compiled, _COMPILE_SHARE)
    yield ours("tensorrt", "fp16")
    yield ours("onnxruntime", "fp16")
    # This shows the gain of running networks side by side; on ONNX Runtime they never do.
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
    candidates: Iterator[Entry],
    images_BSS3: Images,
    stack: ExitStack,
    deadline: Deadline,
    *,
    num_turns: int,
    say: Callable[[str], None],
) -> Opened:
    """Open each contender and run it twice.

    A contender is listed as absent if it fails, gives other answers in FP32, or takes more than its
    share of the time to open or for its turns.

    Args:
        candidates: the reference first.
        images_BSS3: for all of them.
        stack: closes those that were opened.
        deadline: of the races of this subject.
        num_turns: least number of turns that each will have.
        say: told what happens, as some of it takes minutes.
    """
    running: dict[str, Entry] = {}
    steps: dict[str, Step] = {}
    errors: dict[str, float | None] = {}
    absent: list[Absent] = []
    expected: Logits | None = None
    for entry in candidates:
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
            logits = _of_last_image(step.logits())
            error = _compared(entry, logits, expected)
        except Exception as failure:  # one that cannot run must not end the race of the others
            absent.append(Absent(entry.name, reason_of(failure)))
            say(f"{entry.name} does not race: {absent[-1].reason}")
            continue
        if entry.name == REFERENCE:
            expected, error = logits, 0.0
        name = entry.name + step.caveat
        running[name], steps[name], errors[name] = replace(entry, name=name), step, error
    return Opened(entries=running, steps=steps, logit_errors=errors, absent=tuple(absent))


def reason_of(error: Exception) -> str:
    """One line on why a contender is absent."""
    return f"{type(error).__name__}: {first_line(error)}"


def _close(name: str, step: Step, say: Callable[[str], None]) -> None:
    """Close a contender; a failure, as on a lost device, must not cost the others' figures."""
    try:
        step.close()
    except Exception as error:
        say(f"{name} could not be closed: {reason_of(error)}")


def _of_last_image(logits: Logits) -> Logits:
    return {name: values[-1:].astype(np.float32) for name, values in logits.items()}


def _compared(entry: Entry, logits: Logits, expected: Logits | None) -> float | None:
    """The `logit_error`; `UsageError` in FP32 if it is too large."""
    if expected is None:
        return None
    error = logit_error(logits, expected)
    if entry.precision == "fp32" and not error <= _SAME_NETWORKS:
        raise UsageError(f"its logits differ from PyTorch's by {error:.2g} of the largest")
    return error


def _none_in_pytorch(images: Images) -> Step:
    raise UsageError("PyTorch itself has no INT8 convolutions for CUDA")

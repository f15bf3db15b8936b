"""A system in PyTorch: eager, or compiled.

Suffixes: B batch, H rows, W columns, C channels, S side of the network's input.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._dynamo.utils import counters
from typing_extensions import override

from ckd.benchmarks.gpu.device import clock_for
from ckd.benchmarks.gpu.meter import Copies
from ckd.benchmarks.gpu.steps import Logits, Step
from ckd.contract.errors import EngineError
from ckd.train.networks.image_input import ImageInput
from ckd.train.systems.graph import System

#: `torch.compile` as it is fastest: kernels chosen by measurement, replayed as CUDA graphs.
COMPILE_MODE: Final = "max-autotune"


class TorchStep(Step):
    """A system in PyTorch, as a careful engineer would call it: with page-locked memory, and a wait
    for the last copy only.

    Args:
        system: on the device; used as it is.
        images_BSS3: the input of every turn.
        device: for torch.
        compiled: whether by `torch.compile`.
        compiler: of `torch.compile`; tests take a simpler one.
    """

    def __init__(
        self,
        system: System,
        images_BSS3: NDArray[np.uint8],
        device: str,
        *,
        compiled: bool = False,
        compiler: str = "inductor",
    ) -> None:
        answers: Callable[[Tensor], tuple[Tensor, ...]] = _Answers(system)
        if compiled:
            mode = COMPILE_MODE if compiler == "inductor" else None
            answers = torch.compile(answers, mode=mode, dynamic=False, backend=compiler)
        self._answers, self._names = answers, system.outputs.names()
        self._compiled, self.device = compiled, device
        self._skips_before = num_graph_skips()
        self._frames = torch.from_numpy(images_BSS3)
        pinned = device != "cpu"
        self._staged = torch.empty_like(self._frames, pin_memory=pinned)
        self._image = torch.empty_like(self._frames, device=device)
        with torch.inference_mode():
            outputs = answers(self._image)
        self._results = [torch.empty_like(t, device="cpu", pin_memory=pinned) for t in outputs]
        self._clock = clock_for(device)
        self.device_ms: list[float] = []

    @property
    @override
    def caveat(self) -> str:
        # Where `torch.compile` can replay no CUDA graph it goes on without one.
        graphs = not self._compiled or self.device == "cpu"
        return "" if graphs or num_graph_skips() == self._skips_before else ", no CUDA graphs"

    @override
    @torch.inference_mode()
    def __call__(self) -> None:
        self._staged.copy_(self._frames)
        self._clock.start()
        self._image.copy_(self._staged, non_blocking=True)
        for result, tensor in zip(self._results, self._answers(self._image), strict=True):
            result.copy_(tensor, non_blocking=True)
        self.device_ms.append(self._clock.stop())

    @override
    def logits(self) -> Logits:
        return {
            name: tensor.float().numpy()
            for name, tensor in zip(self._names, self._results, strict=True)
        }

    @override
    def copies(self) -> Copies:
        return Copies(
            1, self._staged.nbytes, len(self._results), sum(t.nbytes for t in self._results)
        )

    @override
    def allocations(self) -> int | None:
        return None

    @override
    def close(self) -> None:
        self._answers = _gone
        if self._compiled:
            torch.compiler.reset()  # otherwise it keeps weights and graphs


def torch_system(system: System, precision: str, device: str) -> System:
    """A copy on the device, channels last, with weights in that precision.

    In half precision the image is still normalised in float32 and cast last, as in our FP16 files.
    """
    copied = copy.deepcopy(system).eval()
    copied.to(device=device).to(memory_format=torch.channels_last)
    if precision == "fp16":
        copied.half()
        prepare = ImageInput().to(device)  # the copied one's constants have been rounded
        copied.image_input = _HalfAfter(prepare)  # type: ignore[assignment]
    return copied


def num_graph_skips() -> int:
    """How often `torch.compile` did without a CUDA graph in this process; it logs why."""
    return counters["inductor"]["cudagraph_skips"]


@contextlib.contextmanager
def idle_compilers_after() -> Iterator[None]:
    """End the processes that `torch.compile` compiles in, which would disturb the race."""
    try:
        yield
    finally:
        from torch._inductor.async_compile import shutdown_compile_workers

        shutdown_compile_workers()


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Compute FP32 without TensorFloat-32, and let cuDNN choose its kernels by measurement."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = False, False, True
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before


class _Answers(nn.Module):
    """A system that gives its outputs only, so that a compiler can drop everything else."""

    def __init__(self, system: System) -> None:
        super().__init__()
        self.system, self.names = system, system.outputs.names()

    def forward(self, image_BHWC: Tensor) -> tuple[Tensor, ...]:
        """The outputs in the order of their names."""
        tensors = self.system(image_BHWC)
        return tuple(tensors[name] for name in self.names)


class _HalfAfter(nn.Module):
    """Prepares the image in float32 and casts it last."""

    def __init__(self, prepare: nn.Module) -> None:
        super().__init__()
        self.prepare = prepare

    def forward(self, image_BHWC: Tensor) -> Tensor:
        """Run `ImageInput`, then cast."""
        prepared: Tensor = self.prepare(image_BHWC)
        return prepared.half()


def _gone(image: Tensor) -> tuple[Tensor, ...]:
    raise EngineError("this contender has been closed")

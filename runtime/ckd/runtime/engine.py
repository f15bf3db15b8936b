"""What a backend makes and the rest of the runtime uses: engines, buffers and runners.

These are protocols: backends share these methods, not code. Classes that implement one inherit it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import BundleError
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec

#: Arrays of one frame, by tensor name.
Outputs = Mapping[str, NDArray[Any]]


class DeviceBuffer(Protocol):
    """Memory of one tensor where its engines run. Its address never changes."""

    spec: TensorSpec

    def write(self, array: NDArray[Any]) -> None:
        """Copy an array in; `EngineError` if its shape or type is another than the buffer's."""

    def read(self) -> NDArray[Any]:
        """The content as an array on the host, valid until the next run overwrites it."""

    def close(self) -> None:
        """Release the memory; calling it twice is allowed."""


class Engine(Protocol):
    """One loaded sub-network."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Fix where inputs are read and outputs are written; called once.

        Args:
            buffers: by tensor name, made by the backend that made this engine.
        """

    def enqueue(self, stream: int = 0) -> None:
        """Start one run on a CUDA stream; allocates nothing. On a CPU it is finished on return.

        Raises:
            EngineError: the engine failed or is closed.
        """

    def close(self) -> None:
        """Release the engine; calling it twice is allowed."""


class Runner(Protocol):
    """Takes a frame through all engines of a cascade; it decides on order and overlap."""

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        """The outputs for one image, [1, S, S, 3], by tensor name; valid until the next run.

        ``lap`` is called with the name of what has just ended: "preprocess" once the image is where
        the engines read it, then each node, or "networks" if nodes cannot be timed separately.

        Raises:
            EngineError: an engine failed.
        """

    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        """Run engine after engine; gives each node's name once its outputs are in their buffers.

        A caller that stops iterating has run a prefix of the chain. On a GPU this waits after every
        engine and replays no CUDA graph, since a graph cannot be stopped half way.

        Raises:
            EngineError: an engine failed.
        """

    def close(self) -> None:
        """Release what the runner itself allocated; calling it twice is allowed."""


class DeviceArray(Protocol):
    """An array in a GPU's memory; `ckd.runtime.cuda.arrays.device_image` takes it."""

    @property
    def shape(self) -> Sequence[int]:
        """[H, W, 3]."""


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """A runner on a GPU: it computes one frame while it copies others, and reads device arrays."""

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Outputs]:
        """The outputs for many images, [1, S, S, 3] each, in order.

        The next image is taken before outputs are given; they are valid until the next ones are
        asked for. An exception of ``images`` or an engine is raised after the outputs before it.
        """

    def run_device(self, image: object) -> Mapping[str, DeviceBuffer]:
        """The outputs, on the device, for an image on the device; valid until the next run.

        Raises:
            InputError: this is no device array, not uint8[H, W, 3], or on another device.
            EngineError: an engine failed.
        """

    def run_from_device(self, image: object) -> Outputs:
        """As `run_device`, with the outputs on the host."""


class Backend(Protocol):
    """Makes engines and the buffers between them, all on one device.

    Attributes:
        name: as in ``--backend``.
        device: "cpu", or "cuda:0" and so on.
        precisions: what it can compute in -> the kind of files that this takes.
    """

    name: str
    device: str
    precisions: Mapping[str, str]

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        """Load a node and check its inputs and outputs.

        Args:
            node: of a cascade.
            onnx: its file.
            specs: what cascade.json promises of each tensor, by name.
            precision: to compute in, one of ``precisions``.

        Raises:
            EngineError: the file is no network that this backend can run.
            BundleError: the file is missing, was changed, or is not what cascade.json promises.
        """

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        """A buffer for one tensor, in the memory of the device."""

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        """A runner for engines that are bound to these buffers."""


@runtime_checkable
class EngineBuilder(Backend, Protocol):
    """A backend that builds its engines on this machine; they are tested before they are used.

    Attributes:
        machine: what the engines depend on: GPU, driver, versions.
    """

    machine: Mapping[str, str | int]


@runtime_checkable
class BuiltEngine(Engine, Protocol):
    """An engine that was built on this machine.

    Attributes:
        sha256: of the file that it was loaded from.
    """

    sha256: str


def check_promise(
    node: NodeSpec,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    specs: Mapping[str, TensorSpec],
) -> None:
    """Compare the inputs and outputs of a loaded file with what cascade.json promises of its node.

    Raises:
        BundleError: they differ.
    """
    promised = tuple(specs[n] for n in node.inputs), tuple(specs[n] for n in node.outputs)
    if (inputs, outputs) != promised:
        in_file, out_file, in_spec, out_spec = (
            ", ".join(map(str, tensors)) for tensors in (inputs, outputs, *promised)
        )
        raise BundleError(
            f"{node.name}: the file takes {in_file} and gives {out_file}; cascade.json says "
            f"{in_spec} and {out_spec}; export the bundle again"
        )


def first_line(error: Exception) -> str:
    """The first line of a vendor's error, without the C++ stack below it."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__

"""What a backend makes and the rest of the runtime uses: engines, buffers, and what runs them.

Protocols, not base classes: what backends share is this shape, not code.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Content
from ckd.contract.errors import BundleError
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec

#: Answers of one frame by tensor name.
Outputs = Mapping[str, NDArray[Any]]


class DeviceBuffer(Protocol):
    """Memory of one tensor where its engines run. Its address never changes."""

    spec: TensorSpec

    def write(self, array: NDArray[Any]) -> None:
        """Copy an array of exactly this shape and type in."""

    def read(self) -> NDArray[Any]:
        """The content as an array on the host, valid until the next run overwrites it."""

    def close(self) -> None:
        """Release the memory; calling it twice is fine."""


class Engine(Protocol):
    """One loaded sub-network."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        """Fix where inputs are read and outputs are written; called once."""

    def enqueue(self, stream: int = 0) -> None:
        """Start one run on a CUDA stream; allocates nothing. On a CPU it is finished on return."""

    def close(self) -> None:
        """Release the engine; calling it twice is fine."""


class Runner(Protocol):
    """Takes a frame through all engines of a cascade, in whatever order and overlap it sees fit."""

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        """The answers to one image, [1, S, S, 3], by tensor name; valid until the next run.

        ``lap`` is told what has just ended: "preprocess" once the image is where the engines read
        it, then every node, or "networks" where they cannot be told apart.

        Raises:
            EngineError: an engine failed.
        """

    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        """Run engine after engine; gives each node's name once its outputs are in their buffers.

        Whoever stops iterating has run a prefix of the chain. On a GPU this waits after every
        engine and replays no CUDA graph, which is all or nothing.

        Raises:
            EngineError: an engine failed.
        """

    def close(self) -> None:
        """Release what is the runner's own; calling it twice is fine."""


class DeviceArray(Protocol):
    """An array in a GPU's memory, see `ckd.runtime.cuda.arrays.device_image`."""

    @property
    def shape(self) -> Sequence[int]:
        """[H, W, 3]."""


@runtime_checkable
class DeviceRunner(Runner, Protocol):
    """One on a GPU: it computes a frame while it copies others, and takes images from there."""

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Outputs]:
        """The answers to many images, [1, S, S, 3] each, in order.

        The next image is taken before answers are given; they are valid until the next ones are
        asked for. What is raised, by ``images`` or an engine, comes after the answers before it.
        """

    def run_device(self, image: object) -> Mapping[str, DeviceBuffer]:
        """The answers, on the device, to an image that is there already; valid until the next run.

        Raises:
            InputError: it is no device array, not uint8[H, W, 3], or on another device.
            EngineError: an engine failed.
        """

    def run_from_device(self, image: object) -> Outputs:
        """As `run_device`, with the answers on the host."""


class Backend(Protocol):
    """Makes engines and the buffers between them, all on one device.

    Attributes:
        precisions: that it can compute in, each with the precision of the files this takes.
    """

    name: str
    device: str
    precisions: Mapping[str, str]

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        """Load a node; ``specs`` says what the spec promises of each of its tensors.

        Raises:
            EngineError: the file is no network that this backend can run.
            BundleError: the file is missing, was changed, or is not what the spec promises.
        """

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        """A buffer for one tensor."""

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        """For engines that are bound to these buffers."""


@runtime_checkable
class EngineBuilder(Backend, Protocol):
    """A backend that builds its engines on this machine; they have to prove themselves first.

    Attributes:
        machine: what the engines are good for: GPU, driver, versions.
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
    """`BundleError` unless a loaded file takes and gives what the spec promises of its node."""
    promised = tuple(specs[n] for n in node.inputs), tuple(specs[n] for n in node.outputs)
    if (inputs, outputs) != promised:
        taken, given, to_take, to_give = (
            ", ".join(map(str, tensors)) for tensors in (inputs, outputs, *promised)
        )
        raise BundleError(
            f"{node.name}: the file takes {taken} and gives {given}; cascade.json says {to_take} "
            f"and {to_give}; export the bundle again"
        )


def first_line(error: Exception) -> str:
    """What a vendor's error says, without its stack of C++ places."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__

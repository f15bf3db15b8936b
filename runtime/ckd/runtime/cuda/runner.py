"""Frames through a cascade that stays on the device.

Per frame the image crosses the bus once and the answers once. After the first frame all of it, both
copies and every engine on its stream, is one CUDA graph, so that starting a frame is one call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import EngineError, InputError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.arrays import DeviceImage, device_image
from ckd.runtime.cuda.frame import FrameMemory
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.memory import CudaBuffer
from ckd.runtime.cuda.pipeline import overlapped
from ckd.runtime.cuda.replay import Replay
from ckd.runtime.cuda.streams import EngineStreams
from ckd.runtime.engine import DeviceBuffer, Engine, Outputs

#: Address, height and width of an image, where to put it at network size, and in which stream.
Resize = Callable[[int, int, int, int, int], None]


class CudaRunner:
    """See `ckd.runtime.engine.Runner`; for one thread at a time.

    Args:
        cuda: the device.
        spec: the graph of the engines.
        engines: by node name, bound to the buffers.
        buffers: `CudaBuffer`s by tensor name; they stay the caller's.
        one_stream: where the engines are tied to a stream, that one. Then everything goes into it
            and nothing is captured.

    Raises:
        EngineError: memory is exhausted, or the context is gone; nothing is left behind.
    """

    def __init__(
        self,
        cuda: Cuda,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
        *,
        one_stream: int | None = None,
    ) -> None:
        self._cuda = cuda
        self._image = cast(CudaBuffer, buffers[IMAGE])
        names = dict.fromkeys(spec.outputs.names())
        self._outputs = {name: cast(CudaBuffer, buffers[name]) for name in names}
        self._resize: Resize | None = None
        self._held = held = Held(cuda)
        try:
            self._chain = EngineStreams(cuda, spec, engines, one_stream=one_stream)
            held.callback(self._chain.close)
            self._frame = FrameMemory(cuda, self._image.spec, [*self._outputs.values()])
            held.callback(self._frame.close)
            self._ready = held.event()
            self._whole_frame = Replay(cuda, self._chain, self._enqueue_frame)
            held.callback(self._whole_frame.close)
            self._engines_only = Replay(cuda, self._chain, self._chain.enqueue)
            held.callback(self._engines_only.close)
            held.callback(self._chain.drain)
        except BaseException:
            held.close()
            raise

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        """The answers to one image; page-locked memory, valid until the next run or `close`.

        ``lap`` hears of "preprocess" once the image is staged and of "networks" at the end.
        """
        self._chain.check_open()
        # Page-locked memory is unmapped when its context goes, so first ask whether it is there.
        self._cuda.synchronize(self._chain.stream)
        self._frame.stage(image)
        lap("preprocess")
        self._finish(self._whole_frame.enqueue)
        lap("networks")
        return self._frame.answers

    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        """Run engine after engine; gives each node's name once its outputs are in their buffers.

        A CUDA graph is all or nothing, so none is replayed here.

        Raises:
            EngineError: an engine failed; nothing is left under way.
        """
        self._chain.check_open()
        self._cuda.synchronize(self._chain.stream)
        self._frame.stage(image)
        try:
            self._frame.send(self._image.address, self._chain.stream)
            yield from self._chain.steps()
        except EngineError:
            self._chain.drain()
            raise

    def run_device(self, image: object) -> Mapping[str, CudaBuffer]:
        """The answers to one image that is on the device already; nothing crosses the bus.

        Everything is over on return, so any stream may read the answers, until the next run.

        Args:
            image: a device array (see `ckd.runtime.cuda.arrays`) or a `DeviceImage`; if it has not
                the networks' size it is resized.

        Raises:
            InputError: it is no image, too small or too large, or on another device.
            EnvironmentUnusable: it has to be resized, and there is no NVRTC.
            EngineError: an engine failed.
        """
        enqueue = self._from_device(image)
        self._finish(enqueue)
        return self._outputs

    def run_from_device(self, image: object) -> Outputs:
        """As `run_device`, but the answers come to the host, as those of `run`: in one copy."""
        enqueue, stream = self._from_device(image), self._chain.stream

        def enqueue_all() -> None:
            enqueue()
            self._frame.gather(stream)
            self._frame.fetch(stream)

        self._finish(enqueue_all)
        return self._frame.answers

    @property
    def is_captured(self) -> bool:
        """Whether frames are replayed as one CUDA graph, which begins with the second one."""
        return self._whole_frame.is_captured

    def _from_device(self, image: object) -> Callable[[], None]:
        """What puts an image that is on the device, and the engines, into the streams."""
        self._chain.check_open()
        given = image if isinstance(image, DeviceImage) else device_image(image)
        index = given.device_index
        if index is None:  # PyCUDA's and Numba's arrays do not say; kernels would lose the context
            index = self._cuda.device_of(given.address)
        if index not in (None, self._cuda.index):
            raise InputError(
                f"image: it is on cuda:{index}, the engines are on "
                f"cuda:{self._cuda.index}; copy it there first"
            )
        bring = self._copy if self._has_network_size(given) else self._resizer()
        return lambda: self._enqueue_from(given, bring)

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Outputs]:
        """The answers to many images, [1, S, S, 3] each; see `ckd.runtime.cuda.pipeline`."""
        outputs = [*self._outputs.values()]
        return overlapped(self._cuda, self._chain, self._image, outputs, images)

    def close(self) -> None:
        """Wait for what is under way and release everything; calling it twice is fine."""
        self._held.close()

    def _enqueue_frame(self) -> None:
        stream = self._chain.stream
        self._frame.send(self._image.address, stream)
        self._chain.enqueue()
        self._frame.gather(stream)
        self._frame.fetch(stream)

    def _enqueue_from(self, image: DeviceImage, bring: Resize) -> None:
        """Bringing the image is not part of the graph: every image may lie elsewhere."""
        stream = self._chain.stream
        self._cuda.record(self._ready, image.stream)
        self._cuda.wait(stream, self._ready)
        bring(image.address, image.height, image.width, self._image.address, stream)
        self._engines_only.enqueue()

    def _copy(self, source: int, height: int, width: int, to: int, stream: int) -> None:
        self._cuda.copy(to, source, self._image.spec.num_bytes, stream)

    def _resizer(self) -> Resize:
        """Made when the first image needs it: compiling takes a while, and NVRTC is optional."""
        if self._resize is None:
            from ckd.runtime.cuda.bindings import CudaBindings
            from ckd.runtime.cuda.resize import Resizer

            side_px = self._image.spec.shape[1]
            resizer = Resizer(cast(CudaBindings, self._cuda), side_px)
            self._held.callback(resizer.close)
            self._resize = resizer
        return self._resize

    def _finish(self, enqueue: Callable[[], None]) -> None:
        """Put work into the streams and wait for it; whatever happens, none is left under way."""
        try:
            enqueue()
            self._cuda.synchronize(self._chain.stream)
        except BaseException:
            self._chain.drain()
            raise

    def _has_network_size(self, image: DeviceImage) -> bool:
        return (image.height, image.width) == self._image.spec.shape[1:3]

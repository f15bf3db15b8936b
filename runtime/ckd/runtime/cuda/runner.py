"""Runs frames through a cascade on a CUDA device.

For each frame, one copy brings the image to the device and one brings the outputs back. After the
first frame, both copies and every engine on its stream are one CUDA graph, so that one call starts
a frame.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.contract.errors import InputError
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
from ckd.runtime.engine import DeviceBuffer, DeviceRunner, Engine, Outputs

#: Called with address, height and width of an image, the address for it at network size, a stream.
Resize = Callable[[int, int, int, int, int], None]


class CudaRunner(DeviceRunner):
    """Runs engines on a CUDA device; one thread may use it at a time.

    Args:
        cuda: the device.
        spec: the graph of the engines.
        engines: by node name, bound to the buffers.
        buffers: `CudaBuffer`s by tensor name; the caller owns them.
        one_stream: the only stream that the engines can run on, if there is one. Then everything is
            put into it and nothing is captured.

    Raises:
        EngineError: memory is exhausted, or the context is gone; everything is released then.
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
            self._engines = EngineStreams(cuda, spec, engines, one_stream=one_stream)
            held.callback(self._engines.close)
            self._frame = FrameMemory(cuda, self._image.spec, [*self._outputs.values()])
            held.callback(self._frame.close)
            self._ready = held.event()
            self._whole_frame = Replay(cuda, self._engines, self._enqueue_frame)
            held.callback(self._whole_frame.close)
            self._engines_only = Replay(cuda, self._engines, self._engines.enqueue)
            held.callback(self._engines_only.close)
            held.callback(self._engines.drain)
        except BaseException:
            held.close()
            raise

    @override
    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Outputs:
        """The outputs for one image; page-locked memory, valid until the next run or `close`.

        ``lap`` is called with "preprocess" once the image is staged and with "networks" at the end.
        """
        self._stage(image)
        lap("preprocess")
        self._finish(self._whole_frame.enqueue)
        lap("networks")
        return self._frame.answers

    @override
    def steps(self, image: NDArray[np.uint8]) -> Iterator[str]:
        self._stage(image)
        try:
            self._frame.send(self._image.address, self._engines.stream)
            yield from self._engines.steps()
        except BaseException:
            self._engines.drain()
            raise

    @override
    def run_device(self, image: object) -> Mapping[str, CudaBuffer]:
        """The outputs, on the device, for an image on the device; valid until the next run.

        Nothing crosses the bus. All work is finished on return, so any stream may read the outputs.

        Args:
            image: a device array (see `ckd.runtime.cuda.arrays`) or a `DeviceImage`; it is resized
                if it does not have network size.

        Raises:
            InputError: this is no image, too small or too large, or on another device.
            EnvironmentUnusable: the image has to be resized, and there is no NVRTC.
            EngineError: an engine failed.
        """
        enqueue = self._from_device(image)
        self._finish(enqueue)
        return self._outputs

    @override
    def run_from_device(self, image: object) -> Outputs:
        enqueue, stream = self._from_device(image), self._engines.stream

        def enqueue_all() -> None:
            enqueue()
            self._frame.gather(stream)
            self._frame.fetch(stream)

        self._finish(enqueue_all)
        return self._frame.answers

    @property
    def is_captured(self) -> bool:
        """Whether frames are replayed as one CUDA graph, as from the second frame on."""
        return self._whole_frame.is_captured

    def _from_device(self, image: object) -> Callable[[], None]:
        """A function that puts bringing a device image, and the engines, into the streams."""
        self._engines.check_open()
        source = image if isinstance(image, DeviceImage) else device_image(image)
        index = source.device_index
        if index is None:  # PyCUDA's and Numba's arrays do not say; a wrong one ends the context
            index = self._cuda.device_of(source.address)
        if index not in (None, self._cuda.index):
            raise InputError(
                f"image: it is on cuda:{index}, the engines are on "
                f"cuda:{self._cuda.index}; copy it there first"
            )
        bring = self._copy if self._has_network_size(source) else self._resizer()
        return lambda: self._enqueue_from(source, bring)

    @override
    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Outputs]:
        outputs = [*self._outputs.values()]
        return overlapped(self._cuda, self._engines, self._image, outputs, images)

    @override
    def close(self) -> None:
        self._held.close()  # which waits for work that is under way

    def _stage(self, image: NDArray[np.uint8]) -> None:
        """Write the image to page-locked memory, once no earlier work reads it."""
        self._engines.check_open()
        # A destroyed context unmaps page-locked memory, so check the context before writing to it.
        self._cuda.synchronize(self._engines.stream)
        self._frame.stage(image)

    def _enqueue_frame(self) -> None:
        stream = self._engines.stream
        self._frame.send(self._image.address, stream)
        self._engines.enqueue()
        self._frame.gather(stream)
        self._frame.fetch(stream)

    def _enqueue_from(self, image: DeviceImage, bring: Resize) -> None:
        """Put an image's copy or resize, and the engines, into the streams.

        The graph has the engines only, because every image may have another address.
        """
        stream = self._engines.stream
        self._cuda.record(self._ready, image.stream)
        self._cuda.wait(stream, self._ready)
        bring(image.address, image.height, image.width, self._image.address, stream)
        self._engines_only.enqueue()

    def _copy(self, source: int, height: int, width: int, to: int, stream: int) -> None:
        self._cuda.copy(to, source, self._image.spec.num_bytes, stream)

    def _resizer(self) -> Resize:
        """Made for the first image that needs it: compiling takes time, and NVRTC is optional."""
        if self._resize is None:
            from ckd.runtime.cuda.bindings import CudaBindings
            from ckd.runtime.cuda.resize import Resizer

            side_px = self._image.spec.shape[1]
            resizer = Resizer(cast(CudaBindings, self._cuda), side_px)
            self._held.callback(resizer.close)
            self._resize = resizer
        return self._resize

    def _finish(self, enqueue: Callable[[], None]) -> None:
        """Put work into the streams and wait for it; none is left under way, even on errors."""
        try:
            enqueue()
            self._cuda.synchronize(self._engines.stream)
        except BaseException:
            self._engines.drain()
            raise

    def _has_network_size(self, image: DeviceImage) -> bool:
        return (image.height, image.width) == self._image.spec.shape[1:3]

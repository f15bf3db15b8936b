"""Frames through a cascade that stays on the device.

Per frame the image crosses the bus once and the answers once. After the first frame all of it, both
copies and every engine on its stream, is one CUDA graph, so that starting a frame is one call.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.contract.manifest import IMAGE, Manifest
from ckd.runtime.backends import DeviceBuffer, Engine, Results
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.cuda.arrays import DeviceImage
from ckd.runtime.cuda.chain import EngineChain
from ckd.runtime.cuda.frame import FrameMemory
from ckd.runtime.cuda.held import Held
from ckd.runtime.cuda.memory import CudaBuffer
from ckd.runtime.cuda.pipeline import overlapped
from ckd.runtime.cuda.replay import Replay

#: Address, height and width of an image, address of the resized one, and the stream to do it in.
Resize = Callable[[int, int, int, int, int], None]


class CudaRunner:
    """See `ckd.runtime.backends.Runner`; for one thread at a time.

    Args:
        cuda: the device.
        manifest: the graph of the engines.
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
        manifest: Manifest,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
        *,
        one_stream: int | None = None,
    ) -> None:
        self._cuda = cuda
        self._image = cast(CudaBuffer, buffers[IMAGE])
        names = dict.fromkeys(manifest.results.names())
        self._results = {name: cast(CudaBuffer, buffers[name]) for name in names}
        self._held = held = Held(cuda)
        try:
            self._chain = EngineChain(cuda, manifest, engines, one_stream=one_stream)
            held.callback(self._chain.close)
            self._frame = FrameMemory(cuda, self._image.spec, [*self._results.values()])
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

    def run(self, image: NDArray[np.uint8], lap: Callable[[str], None]) -> Results:
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

    def run_device(
        self, image: DeviceImage, resize: Resize | None = None
    ) -> Mapping[str, CudaBuffer]:
        """The answers to one image that is on the device already; nothing crosses the bus.

        Everything is over on return, so any stream may read the answers, until the next run.

        Args:
            image: of the networks' size, or of any with ``resize``.
            resize: brings it to the networks' size, such as `ckd.runtime.cuda.resize.Resizer`.

        Raises:
            InputError: the image has not the networks' size, or is on another device.
            EngineError: an engine failed.
        """
        self._chain.check_open()
        self._check(image, resize is not None)
        self._finish(lambda: self._enqueue_from(image, resize))
        return self._results

    def stream(self, images: Iterable[NDArray[np.uint8]]) -> Iterator[Results]:
        """The answers to many images, [1, S, S, 3] each; see `ckd.runtime.cuda.pipeline`."""
        results = [*self._results.values()]
        return overlapped(self._cuda, self._chain, self._image, results, images)

    def close(self) -> None:
        """Wait for what is under way and release everything; calling it twice is fine."""
        self._held.close()

    def _enqueue_frame(self) -> None:
        stream = self._chain.stream
        self._frame.send(self._image.address, stream)
        self._chain.enqueue()
        self._frame.gather(stream)
        self._frame.fetch(stream)

    def _enqueue_from(self, image: DeviceImage, resize: Resize | None) -> None:
        """The copy is not part of the graph: every image may lie elsewhere."""
        stream, to = self._chain.stream, self._image.address
        self._cuda.record(self._ready, image.stream)
        self._cuda.wait(stream, self._ready)
        if self._has_network_size(image):
            self._cuda.copy(to, image.address, self._image.spec.num_bytes, stream)
        elif resize is not None:
            resize(image.address, image.height, image.width, to, stream)
        self._engines_only.enqueue()

    def _finish(self, enqueue: Callable[[], None]) -> None:
        """Put work into the streams and wait for it; whatever happens, none is left under way."""
        try:
            enqueue()
            self._cuda.synchronize(self._chain.stream)
        except BaseException:
            self._chain.drain()
            raise

    def _check(self, image: DeviceImage, is_resized: bool) -> None:
        if not is_resized and not self._has_network_size(image):
            _, height, width, _ = self._image.spec.shape
            raise InputError(
                f"image: expected {height}x{width} pixels, got {image.height}x{image.width}; "
                "pass a ckd.runtime.cuda.resize.Resizer to have it resized on the device"
            )
        if image.device_index not in (None, self._cuda.index):
            raise InputError(
                f"image: it is on cuda:{image.device_index}, the engines are on "
                f"cuda:{self._cuda.index}; copy it there first"
            )

    def _has_network_size(self, image: DeviceImage) -> bool:
        return (image.height, image.width) == self._image.spec.shape[1:3]

"""CUDA through cuda-bindings 12.6 or later and 13.

Only the driver's interface is used. It works in whatever context is current, while the runtime's
would make the primary one where an application (PyCUDA) has popped its own.
"""

import ctypes
import importlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from ckd.contract.errors import EngineError
from ckd.runtime.cuda.api import Cuda, DeviceProperties
from ckd.runtime.cuda.context import Context, open_context
from ckd.runtime.cuda.errors import OUT_OF_MEMORY, describe

_WITHOUT_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE
_ON_DEVICE = 2  # CU_MEMORYTYPE_DEVICE


def open_cuda(device: str = "auto") -> "CudaBindings":
    """The device in the context that is current in this thread, or else in its primary context.

    Args:
        device: "cuda:1"; "cuda" and "auto" take the device of the current context, or the first.

    Raises:
        UsageError: this is no name of a CUDA device, or the current context is on another device.
        EnvironmentUnusable: there is no driver, no such device, or the driver is too old.
    """
    return CudaBindings(open_context(device))


class CudaBindings(Cuda):
    """One device in one context; `open_cuda` makes it.

    Attributes:
        driver: the module `cuda.bindings.driver`, for launching kernels after `enter`.
        index: of the device: 1 of "cuda:1".
        is_primary: whether the context is the device's primary one, the only one in which
            libraries on CUDA's runtime work that choose their device themselves (ONNX Runtime).
    """

    def __init__(self, context: Context) -> None:
        self.driver, self.index, self.is_primary = context.driver, context.index, context.is_primary
        self._context = context
        self._checked, self._release = context.checked, context.release

    def enter(self) -> None:
        """Make sure that the context is current in this thread.

        Raises:
            EngineError: it is not current, or it was destroyed.
        """
        self._context.enter()

    @override
    def properties(self) -> DeviceProperties:
        attributes = self.driver.CUdevice_attribute
        runtime = importlib.import_module("cuda.bindings.runtime")

        def attribute(name: str) -> int:
            key = getattr(attributes, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(self._checked(self.driver.cuDeviceGetAttribute(key, self.index), "look at"))

        name: bytes = self._checked(self.driver.cuDeviceGetName(256, self.index), "look at")
        return DeviceProperties(
            name=name.split(b"\0")[0].decode(),
            compute_capability=(
                attribute("COMPUTE_CAPABILITY_MAJOR"),
                attribute("COMPUTE_CAPABILITY_MINOR"),
            ),
            num_multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            total_bytes=int(self._checked(self.driver.cuDeviceTotalMem(self.index), "look at")),
            driver_version=int(self._checked(self.driver.cuDriverGetVersion(), "look at")),
            runtime_version=int(self._checked(runtime.cudaRuntimeGetVersion(), "look at")),
        )

    @override
    def free_bytes(self) -> int:
        self.enter()
        free, _ = self._checked(self.driver.cuMemGetInfo(), "ask for the free memory of")
        return int(free)

    @override
    def allocate(self, num_bytes: int) -> int:
        self.enter()
        error, address = self.driver.cuMemAlloc(num_bytes)
        if int(error) == OUT_OF_MEMORY:
            size, free = _mebibytes(num_bytes), _mebibytes(self.free_bytes())
            what = f"cannot allocate {size} on cuda:{self.index}, {free} are free"
            raise EngineError(describe(error, what))
        self._checked((error,), "allocate memory on")
        return int(address)

    @override
    def free(self, address: int) -> None:
        self._release(self.driver.cuMemFree, address, "device memory")

    @override
    def allocate_pinned(self, num_bytes: int) -> int:
        self.enter()
        doing = f"page-lock {_mebibytes(num_bytes)} of host memory for"
        error, address = self.driver.cuMemHostAlloc(num_bytes, _PORTABLE)
        if int(error) == OUT_OF_MEMORY:  # not the GPU's
            raise EngineError(
                f"cannot {doing} cuda:{self.index}: the machine's memory is full, or no more of it "
                "may be locked; end other programs, or run with `--device cpu`"
            )
        return int(self._checked((error, address), doing))

    @override
    def free_pinned(self, address: int) -> None:
        self._release(self.driver.cuMemFreeHost, address, "page-locked memory")

    @override
    def device_of(self, address: int) -> int | None:
        self.enter()
        kind, is_managed, index = (
            self._pointer_attribute(name, address)
            for name in ("MEMORY_TYPE", "IS_MANAGED", "DEVICE_ORDINAL")
        )
        return index if kind == _ON_DEVICE and not is_managed else None

    @override
    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = (ctypes.c_ubyte * num_bytes).from_address(address)
        return np.ndarray(shape, np.dtype(dtype), memoryview(memory))

    @override
    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        self.enter()
        self._checked(self.driver.cuMemcpyAsync(to, source, num_bytes, stream), "copy on")

    @override
    def create_stream(self) -> int:
        self.enter()
        return int(self._checked(self.driver.cuStreamCreate(_NON_BLOCKING), "create a stream on"))

    @override
    def destroy_stream(self, stream: int) -> None:
        self._release(self.driver.cuStreamDestroy, stream, "a stream")

    @override
    def synchronize(self, stream: int) -> None:
        self.enter()
        self._checked(self.driver.cuStreamSynchronize(stream), "finish the work on")

    @override
    def create_event(self, timing: bool = False) -> int:
        self.enter()
        flags = 0 if timing else _WITHOUT_TIMING
        return int(self._checked(self.driver.cuEventCreate(flags), "create an event on"))

    @override
    def destroy_event(self, event: int) -> None:
        self._release(self.driver.cuEventDestroy, event, "an event")

    @override
    def record(self, event: int, stream: int) -> None:
        self.enter()
        self._checked(self.driver.cuEventRecord(event, stream), "record an event on")

    @override
    def wait(self, stream: int, event: int) -> None:
        self.enter()
        self._checked(self.driver.cuStreamWaitEvent(stream, event, 0), "wait for an event on")

    @override
    def elapsed_ms(self, start: int, end: int) -> float:
        self.enter()
        taken_ms = self._checked(self.driver.cuEventElapsedTime(start, end), "take the time on")
        return float(taken_ms)

    @override
    def begin_capture(self, stream: int) -> None:
        self.enter()
        # Other threads may allocate meanwhile: an application's, a camera's.
        mode = self.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._checked(self.driver.cuStreamBeginCapture(stream, mode), "begin a capture on")

    @override
    def end_capture(self, stream: int) -> int:
        self.enter()
        graph = self._checked(self.driver.cuStreamEndCapture(stream), "capture the work on")
        try:
            executable = self._checked(self.driver.cuGraphInstantiate(graph, 0), "make a graph for")
        finally:
            self._checked(self.driver.cuGraphDestroy(graph), "release a captured graph on")
        return int(executable)

    @override
    def launch(self, graph: int, stream: int) -> None:
        self.enter()
        self._checked(self.driver.cuGraphLaunch(graph, stream), "launch a graph on")

    @override
    def destroy_graph(self, graph: int) -> None:
        self._release(self.driver.cuGraphExecDestroy, graph, "a graph")

    def unload(self, module: int) -> None:
        """Release a module of kernels."""
        self._release(self.driver.cuModuleUnload, module, "a module")

    def _pointer_attribute(self, name: str, address: int) -> int | None:
        """None for memory that CUDA does not know, which the GPU of some machines reaches too."""
        key = getattr(self.driver.CUpointer_attribute, f"CU_POINTER_ATTRIBUTE_{name}")
        error, value = self.driver.cuPointerGetAttribute(key, address)
        return None if int(error) else int(value)


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"

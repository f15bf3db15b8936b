"""CUDA through cuda-bindings 12.6 or later and 13.

Only the driver's interface is used. It works in whatever context is current, while the runtime's
would make the primary one where an application (PyCUDA) has popped its own.
"""

import ctypes
import importlib
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import CkdError, EngineError, EnvironmentUnusable, UsageError
from ckd.runtime.cuda.api import DeviceProperties
from ckd.runtime.cuda.driver import load_driver, num_devices
from ckd.runtime.cuda.errors import CONTEXT_LOST, DESTROYED, OUT_OF_MEMORY, checked, describe

_WITHOUT_TIMING = 2  # CU_EVENT_DISABLE_TIMING
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE
_ON_DEVICE = 2  # CU_MEMORYTYPE_DEVICE


def open_cuda(device: str = "auto") -> "CudaBindings":
    """The device in the context that is current in this thread, or else in its primary context.

    Args:
        device: "cuda:1"; "cuda" and "auto" take the device of the current context, or the first.

    Raises:
        UsageError: no name of a CUDA device, or the current context is on another device.
        EnvironmentUnusable: no driver, no such device, or the driver is too old.
    """
    found = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if found is None:
        raise UsageError(f"unknown device {device!r}; expected auto, cuda or cuda:0, cuda:1, ...")
    driver = load_driver()
    count = num_devices(driver)
    context = checked(driver.cuCtxGetCurrent(), "cannot look for a CUDA context")
    if int(context):
        index = int(checked(driver.cuCtxGetDevice(), "cannot tell the current context's device"))
        if found[1] is not None and int(found[1]) != index:
            raise UsageError(
                f"{device} was asked for, but this thread's CUDA context is on cuda:{index}; make "
                f"one of {device} current first (torch.cuda.set_device, cupy.cuda.Device.use, or "
                "PyCUDA's Context.push), or load it in a thread of its own"
            )
        return CudaBindings(driver, index, context, primary=_retain_if_primary(driver, context))
    index = int(found[1] or 0)
    if index >= count:
        offered = ", ".join(f"cuda:{i}" for i in range(count))
        raise EnvironmentUnusable(
            f"no device {device}; CUDA offers {offered} here (CUDA_VISIBLE_DEVICES may hide others)"
        )
    # Held until the process ends, as CUDA's runtime does: engines may outlive this object.
    error, context = driver.cuDevicePrimaryCtxRetain(index)
    if int(error):
        raise EnvironmentUnusable(describe(error, f"cannot use cuda:{index}"))
    checked(driver.cuCtxSetCurrent(context), f"cannot use cuda:{index}")
    return CudaBindings(driver, index, context, primary=True)


def why_unusable() -> str | None:
    """Why there is no CUDA here and what to do about it; None if there is. Makes no context."""
    try:
        num_devices(load_driver())
    except CkdError as error:
        return str(error)
    return None


class CudaBindings:
    """One device, see `ckd.runtime.cuda.api.Cuda`; use `open_cuda`.

    An application's own context is never made current here: it has to be current in the calling
    thread (PyCUDA: ``context.push()``). If it is not when something is to be freed, it is taken to
    be destroyed, and what was in it to be freed with it.

    Attributes:
        driver: the module `cuda.bindings.driver`, for launching kernels after `enter`.
        index: of the device: 1 of "cuda:1".
        is_primary: whether the context is the device's primary one, the only one in which
            libraries on CUDA's runtime work that choose their device themselves (ONNX Runtime).
    """

    def __init__(self, driver: Any, index: int, context: Any, *, primary: bool) -> None:
        self.driver, self.index = driver, index
        self.is_primary, self._context = primary, context
        # An address may be given to the next context, a number is not.
        self._context_id = self._checked(driver.cuCtxGetId(context), "use the context")

    def enter(self) -> None:
        """Make sure that the context is current in this thread; `EngineError` if it is not."""
        if not self._is_current():
            raise EngineError(
                f"the CUDA context on cuda:{self.index} in which the cascade was loaded is not "
                "current in this thread, or the application destroyed it; make it current around "
                "each call (PyCUDA: context.push() and pop()), or load the cascade again"
            )

    def properties(self) -> DeviceProperties:
        """Of the device."""
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

    def free_bytes(self) -> int:
        """Device memory that can be allocated now."""
        self.enter()
        free, _ = self._checked(self.driver.cuMemGetInfo(), "ask for the free memory of")
        return int(free)

    def allocate(self, num_bytes: int) -> int:
        """Device memory; its address."""
        self.enter()
        error, address = self.driver.cuMemAlloc(num_bytes)
        if int(error) == OUT_OF_MEMORY:
            wanted, free = _mebibytes(num_bytes), _mebibytes(self.free_bytes())
            what = f"cannot allocate {wanted} on cuda:{self.index}, {free} are free"
            raise EngineError(describe(error, what))
        self._checked((error,), "allocate memory on")
        return int(address)

    def free(self, address: int) -> None:
        """Release device memory."""
        self._release(self.driver.cuMemFree, address, "device memory")

    def allocate_pinned(self, num_bytes: int) -> int:
        """Page-locked host memory; its address."""
        self.enter()
        doing = f"page-lock {_mebibytes(num_bytes)} of host memory for"
        error, address = self.driver.cuMemHostAlloc(num_bytes, _PORTABLE)
        if int(error) == OUT_OF_MEMORY:  # not the GPU's
            raise EngineError(
                f"cannot {doing} cuda:{self.index}: the machine's memory is full, or no more of it "
                "may be locked; end other programs, or run with `--device cpu`"
            )
        return int(self._checked((error, address), doing))

    def free_pinned(self, address: int) -> None:
        """Release page-locked memory."""
        self._release(self.driver.cuMemFreeHost, address, "page-locked memory")

    def device_of(self, address: int) -> int | None:
        """Index of the device that memory is on; None if every device reaches it, or unknown."""
        self.enter()
        kind, is_managed, index = (
            self._pointer_attribute(name, address)
            for name in ("MEMORY_TYPE", "IS_MANAGED", "DEVICE_ORDINAL")
        )
        return index if kind == _ON_DEVICE and not is_managed else None

    def host_array(self, address: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        """Page-locked memory as an array; must not be used after it was released."""
        num_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = (ctypes.c_ubyte * num_bytes).from_address(address)
        return np.ndarray(shape, np.dtype(dtype), memoryview(memory))

    def copy(self, to: int, source: int, num_bytes: int, stream: int) -> None:
        """Copy in the order of a stream, between any two addresses of host and device."""
        self.enter()
        self._checked(self.driver.cuMemcpyAsync(to, source, num_bytes, stream), "copy on")

    def create_stream(self) -> int:
        """A stream that does not wait for the default one."""
        self.enter()
        return int(self._checked(self.driver.cuStreamCreate(_NON_BLOCKING), "create a stream on"))

    def destroy_stream(self, stream: int) -> None:
        """Release a stream once its work is done."""
        self._release(self.driver.cuStreamDestroy, stream, "a stream")

    def synchronize(self, stream: int) -> None:
        """Wait until all work of a stream is done; raises what went wrong in it."""
        self.enter()
        self._checked(self.driver.cuStreamSynchronize(stream), "finish the work on")

    def create_event(self, timing: bool = False) -> int:
        """An event, with or without a clock."""
        self.enter()
        flags = 0 if timing else _WITHOUT_TIMING
        return int(self._checked(self.driver.cuEventCreate(flags), "create an event on"))

    def destroy_event(self, event: int) -> None:
        """Release an event."""
        self._release(self.driver.cuEventDestroy, event, "an event")

    def record(self, event: int, stream: int) -> None:
        """The event happens when all work that is now in the stream is done."""
        self.enter()
        self._checked(self.driver.cuEventRecord(event, stream), "record an event on")

    def wait(self, stream: int, event: int) -> None:
        """What is put into the stream from now on starts after the event."""
        self.enter()
        self._checked(self.driver.cuStreamWaitEvent(stream, event, 0), "wait for an event on")

    def elapsed_ms(self, start: int, end: int) -> float:
        """Time between two events with clocks that have happened."""
        self.enter()
        taken_ms = self._checked(self.driver.cuEventElapsedTime(start, end), "take the time on")
        return float(taken_ms)

    def begin_capture(self, stream: int) -> None:
        """Record work of this thread from now on instead of doing it."""
        self.enter()
        # Other threads may allocate meanwhile: an application's, a camera's.
        mode = self.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._checked(self.driver.cuStreamBeginCapture(stream, mode), "begin a capture on")

    def end_capture(self, stream: int) -> int:
        """The recorded work as an executable graph; all other streams must have joined again."""
        self.enter()
        graph = self._checked(self.driver.cuStreamEndCapture(stream), "capture the work on")
        try:
            made = self._checked(self.driver.cuGraphInstantiate(graph, 0), "make a graph for")
        finally:
            self._checked(self.driver.cuGraphDestroy(graph), "release a captured graph on")
        return int(made)

    def launch(self, graph: int, stream: int) -> None:
        """Do recorded work."""
        self.enter()
        self._checked(self.driver.cuGraphLaunch(graph, stream), "launch a graph on")

    def destroy_graph(self, graph: int) -> None:
        """Release an executable graph."""
        self._release(self.driver.cuGraphExecDestroy, graph, "a graph")

    def unload(self, module: int) -> None:
        """Release a module of kernels."""
        self._release(self.driver.cuModuleUnload, module, "a module")

    def _is_current(self) -> bool:
        """Whether work goes to the context; one that was lost to an error still counts."""
        error, current = self.driver.cuCtxGetCurrent()
        if int(error):
            return False
        if not int(current):
            if not self.is_primary:
                return False
            (error,) = self.driver.cuCtxSetCurrent(self._context)  # this thread has used no CUDA
            if int(error) not in DESTROYED:
                self._checked((error,), "use")
            return not int(error)
        if int(current) != int(self._context):
            return False
        error, number = self.driver.cuCtxGetId(current)
        return number == self._context_id if not int(error) else int(error) not in DESTROYED

    def _pointer_attribute(self, name: str, address: int) -> int | None:
        """None for memory that CUDA does not know, which the GPU of some machines reaches too."""
        key = getattr(self.driver.CUpointer_attribute, f"CU_POINTER_ATTRIBUTE_{name}")
        error, value = self.driver.cuPointerGetAttribute(key, address)
        return None if int(error) else int(value)

    def _release(self, function: Any, handle: int, what: str) -> None:
        """Free a handle; one that is 0 or whose context is gone needs nothing."""
        if not handle:
            return
        if self.is_primary:  # held since it was opened, whichever is current here
            (error,) = self.driver.cuCtxPushCurrent(self._context)
            if not int(error):
                (error,) = function(handle)
                self.driver.cuCtxPopCurrent()
        elif self._is_current():
            (error,) = function(handle)
        else:
            return
        if int(error) not in CONTEXT_LOST:
            self._checked((error,), f"release {what} on")

    def _checked(self, result: tuple[Any, ...], doing: str) -> Any:
        return checked(result, f"cannot {doing} cuda:{self.index}")


def _retain_if_primary(driver: Any, context: Any) -> bool:
    """Whether the current context is its device's primary one; that is then held."""
    doing = "cannot look at the current CUDA context"
    device = checked(driver.cuCtxGetDevice(), doing)
    _, active = checked(driver.cuDevicePrimaryCtxGetState(device), doing)
    if not active:  # retaining it would make it
        return False
    if int(checked(driver.cuDevicePrimaryCtxRetain(device), doing)) == int(context):
        return True
    checked(driver.cuDevicePrimaryCtxRelease(device), doing)
    return False


def _mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.1f} MiB"

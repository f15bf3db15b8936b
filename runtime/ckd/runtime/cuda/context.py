"""The CUDA context that work goes to: chosen when a device is opened, checked at each use."""

import re
from typing import Any

from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.runtime.cuda.errors import CONTEXT_LOST, DESTROYED, checked, describe
from ckd.runtime.cuda.presence import load_driver, num_devices


def open_context(device: str) -> "Context":
    """The context that is current in this thread, or else the device's primary one.

    Args:
        device: "cuda:1"; "cuda" and "auto" take the device of the current context, or the first.

    Raises:
        UsageError: this is no name of a CUDA device, or the current context is on another device.
        EnvironmentUnusable: there is no driver, no such device, or the driver is too old.
    """
    match = re.fullmatch(r"auto|cuda(?::(\d+))?", device)
    if match is None:
        raise UsageError(f"unknown device {device!r}; expected auto, cuda or cuda:0, cuda:1, ...")
    driver = load_driver()
    count = num_devices(driver)
    context = checked(driver.cuCtxGetCurrent(), "cannot look for a CUDA context")
    if int(context):
        index = int(checked(driver.cuCtxGetDevice(), "cannot tell the current context's device"))
        if match[1] is not None and int(match[1]) != index:
            raise UsageError(
                f"{device} was asked for, but this thread's CUDA context is on cuda:{index}; make "
                f"one of {device} current first (torch.cuda.set_device, cupy.cuda.Device.use, or "
                "PyCUDA's Context.push), or load it in a thread of its own"
            )
        return Context(driver, index, context, is_primary=_retain_if_primary(driver, context))
    index = int(match[1] or 0)
    if index >= count:
        offered = ", ".join(f"cuda:{i}" for i in range(count))
        raise EnvironmentUnusable(
            f"no device {device}; CUDA offers {offered} here (CUDA_VISIBLE_DEVICES may hide others)"
        )
    # The process keeps it until it ends, as CUDA's runtime does: engines may outlive this object.
    error, context = driver.cuDevicePrimaryCtxRetain(index)
    if int(error):
        raise EnvironmentUnusable(describe(error, f"cannot use cuda:{index}"))
    checked(driver.cuCtxSetCurrent(context), f"cannot use cuda:{index}")
    return Context(driver, index, context, is_primary=True)


class Context:
    """A context on one device.

    An application's own context is never made current here: it has to be current in the calling
    thread (PyCUDA: ``context.push()``). If it is not current when something is to be freed, the
    application is assumed to have destroyed it, which freed everything in it.

    Attributes:
        driver: the module `cuda.bindings.driver`.
        index: of the device: 1 of "cuda:1".
        is_primary: whether the context is the device's primary one.
    """

    def __init__(self, driver: Any, index: int, context: Any, *, is_primary: bool) -> None:
        self.driver, self.index = driver, index
        self.is_primary, self._context = is_primary, context
        # CUDA may give the address of a destroyed context to a new one, but never its number.
        self._id = self.checked(driver.cuCtxGetId(context), "use the context")

    def enter(self) -> None:
        """Make sure that the context is current in this thread.

        Raises:
            EngineError: it is not current, or it was destroyed.
        """
        if not self._is_current():
            raise EngineError(
                f"the CUDA context on cuda:{self.index} in which the cascade was loaded is not "
                "current in this thread, or the application destroyed it; make it current around "
                "each call (PyCUDA: context.push() and pop()), or load the cascade again"
            )

    def release(self, function: Any, handle: int, what: str) -> None:
        """Free a handle; nothing is done if it is 0 or its context is gone.

        Args:
            function: of the driver, which takes the handle.
            handle: of memory, a stream or something else in this context.
            what: the handle stands for, as "a stream".

        Raises:
            EngineError: the driver refuses.
        """
        if not handle:
            return
        if self.is_primary:  # it exists until the process ends, whichever context is current
            (error,) = self.driver.cuCtxPushCurrent(self._context)
            if not int(error):
                (error,) = function(handle)
                self.driver.cuCtxPopCurrent()
        elif self._is_current():
            (error,) = function(handle)
        else:
            return
        if int(error) not in CONTEXT_LOST:
            self.checked((error,), f"release {what} on")

    def checked(self, result: tuple[Any, ...], doing: str) -> Any:
        """The result of a call of the driver after its error code: None, one value or a tuple.

        Raises:
            EngineError: the call failed; the message names the device.
        """
        return checked(result, f"cannot {doing} cuda:{self.index}")

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
                self.checked((error,), "use")
            return not int(error)
        if int(current) != int(self._context):
            return False
        error, number = self.driver.cuCtxGetId(current)
        return number == self._id if not int(error) else int(error) not in DESTROYED


def _retain_if_primary(driver: Any, context: Any) -> bool:
    """Whether the current context is its device's primary one, which is then retained."""
    doing = "cannot look at the current CUDA context"
    device = checked(driver.cuCtxGetDevice(), doing)
    _, active = checked(driver.cuDevicePrimaryCtxGetState(device), doing)
    if not active:  # retaining it would make it
        return False
    if int(checked(driver.cuDevicePrimaryCtxRetain(device), doing)) == int(context):
        return True
    checked(driver.cuDevicePrimaryCtxRelease(device), doing)
    return False

"""The device that is measured on: what it is, and how long it worked.

Device time is what lies between two events in the device's own queue, so it holds the gaps in which
the device waits for the host to send work, but not the host's wait for the answer. On a CPU, which
a rehearsal runs on, both times are one.
"""

import re
import time
from dataclasses import dataclass
from typing import Protocol

import torch

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.runtime.cpu import cpu_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What was measured on; what only a GPU has is None of a CPU."""

    name: str
    compute_capability: str | None
    num_multiprocessors: int | None
    memory_gb: float | None
    cuda: str | None  # that torch was built for

    @property
    def slug(self) -> str:
        """The name as a part of a folder's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


class DeviceClock(Protocol):
    """Times one call at a time."""

    def start(self) -> None:
        """Work that is queued from now on counts."""

    def stop(self) -> float:
        """Wait until the device is idle; milliseconds that it took since `start`."""


class HostClock:
    """Of a CPU, which is idle when a call returns."""

    def __init__(self) -> None:
        self._start_s = 0.0

    def start(self) -> None:
        """See `DeviceClock`."""
        self._start_s = time.perf_counter()

    def stop(self) -> float:
        """See `DeviceClock`."""
        return 1e3 * (time.perf_counter() - self._start_s)


class EventClock:
    """Of a CUDA stream: a pair of events in it."""

    def __init__(self, stream: "torch.cuda.Stream") -> None:
        self._stream = stream
        self._first, self._last = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    def start(self) -> None:
        """See `DeviceClock`."""
        self._first.record(self._stream)

    def stop(self) -> float:
        """See `DeviceClock`."""
        self._last.record(self._stream)
        self._last.synchronize()
        return float(self._first.elapsed_time(self._last))


def clock_for(device: str, stream: "torch.cuda.Stream | None" = None) -> DeviceClock:
    """A clock of the device, in the given stream or in torch's own."""
    if device == "cpu":
        return HostClock()
    return EventClock(stream or torch.cuda.current_stream(device))


def check_device(device: str) -> None:
    """Raise unless torch can compute there.

    Raises:
        UsageError: it is no name of a device.
        EnvironmentUnusable: there is no such device, or no driver for it.
    """
    if device == "cpu":
        return
    if not re.fullmatch(r"cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; expected cuda, cuda:N or cpu")
    if torch.version.cuda is None:
        raise EnvironmentUnusable(
            f"torch {torch.__version__} was built without CUDA; this measurement needs a GPU and "
            "a build for it, see https://pytorch.org/get-started/locally"
        )
    if not torch.cuda.is_available():
        raise EnvironmentUnusable(
            f"no CUDA device that torch {torch.__version__} can use; this measurement needs an "
            f"NVIDIA GPU with a driver for CUDA {torch.version.cuda} (`nvidia-smi` shows both); "
            "`--device cpu` rehearses it without one"
        )
    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise EnvironmentUnusable(f"{device}: there are {torch.cuda.device_count()} CUDA devices")


def use_device(device: str) -> None:
    """Make the GPU of a number torch's current one.

    The runtime works in the context that is current, and refuses to work on another device; torch
    goes back to the first device's wherever it is told another one for a single call.
    """
    index = torch.device(device).index
    if index is not None:
        torch.cuda.set_device(index)


def describe(device: str) -> Device:
    """Name and size of a device that `check_device` has found to be there."""
    if device == "cpu":
        return Device(
            name=f"{cpu_name()} (rehearsal)", compute_capability=None, num_multiprocessors=None,
            memory_gb=None, cuda=None,
        )  # fmt: skip
    found = torch.cuda.get_device_properties(device)
    return Device(
        name=found.name,
        compute_capability=f"{found.major}.{found.minor}",
        num_multiprocessors=found.multi_processor_count,
        memory_gb=round(found.total_memory / 1e9, 1),
        cuda=torch.version.cuda,
    )

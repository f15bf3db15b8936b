"""The device that is measured on: its properties, and a clock for its work.

Device time lies between two events in the device's own queue, so it includes the gaps in which the
device waits for the host to send work, but not the host's wait for the answer. On a CPU, which a
rehearsal runs on, both times are the same.
"""

import re
from dataclasses import dataclass

import torch
from typing_extensions import override

from ckd.benchmarks.gpu.clock import DeviceClock, HostClock
from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.runtime.cpu import cpu_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The device that was measured on; the properties that only a GPU has are None for a CPU."""

    name: str
    compute_capability: str | None
    num_multiprocessors: int | None
    memory_gb: float | None
    cuda: str | None  # the version that torch was built for

    @property
    def slug(self) -> str:
        """The name as a part of a folder's name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


class EventClock(DeviceClock):
    """The clock of a CUDA stream, by a pair of events in it."""

    def __init__(self, stream: "torch.cuda.Stream") -> None:
        self._stream = stream
        self._first, self._last = (
            torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            for _ in range(2)
        )

    @override
    def start(self) -> None:
        self._first.record(self._stream)

    @override
    def stop(self) -> float:
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
        UsageError: this is not the name of a device.
        EnvironmentUnusable: this machine has no such device, or no driver for it.
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
    """Make a GPU that is named by its number torch's current one.

    The runtime works in the current context and refuses to work on another device. Torch returns to
    the first device after every call that names another one.
    """
    index = torch.device(device).index
    if index is not None:
        torch.cuda.set_device(index)


def describe(device: str) -> Device:
    """Name and size of a device that passed `check_device`."""
    if device == "cpu":
        return Device(
            name=f"{cpu_name()} (rehearsal)", compute_capability=None, num_multiprocessors=None,
            memory_gb=None, cuda=None,
        )  # fmt: skip
    properties = torch.cuda.get_device_properties(device)
    return Device(
        name=properties.name,
        compute_capability=f"{properties.major}.{properties.minor}",
        num_multiprocessors=properties.multi_processor_count,
        memory_gb=round(properties.total_memory / 1e9, 1),
        cuda=torch.version.cuda,
    )

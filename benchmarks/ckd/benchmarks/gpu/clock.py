"""Clocks for one call at a time; this file needs no torch."""

import time
from typing import Protocol

from typing_extensions import override


class DeviceClock(Protocol):
    """Times one call at a time."""

    def start(self) -> None:
        """Work that is queued from now on counts."""

    def stop(self) -> float:
        """Wait until the device is idle; milliseconds that it took since `start`."""


class HostClock(DeviceClock):
    """The clock of a CPU, which is idle when a call returns."""

    def __init__(self) -> None:
        self._start_s = 0.0

    @override
    def start(self) -> None:
        self._start_s = time.perf_counter()

    @override
    def stop(self) -> float:
        return 1e3 * (time.perf_counter() - self._start_s)

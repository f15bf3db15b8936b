"""How long each step of an image takes."""

import time


class Stopwatch:
    """Wall time of steps that follow each other, beginning now."""

    def __init__(self) -> None:
        self._start = self._before = time.perf_counter()
        self._laps_ms: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """A step is over; it began when the one before it was."""
        now = time.perf_counter()
        self._laps_ms[step] = 1e3 * (now - self._before)
        self._before = now

    def timings_ms(self) -> dict[str, float]:
        """Of every step, and "total" until now."""
        return {**self._laps_ms, "total": 1e3 * (time.perf_counter() - self._start)}

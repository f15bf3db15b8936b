"""Measures how long each step of analysing an image takes."""

import time


class Stopwatch:
    """Wall time of consecutive steps; the first begins when the stopwatch is made."""

    def __init__(self) -> None:
        self._start = self._before = time.perf_counter()
        self._laps_ms: dict[str, float] = {}

    @property
    def elapsed_ms(self) -> float:
        """From the beginning until now."""
        return 1e3 * (time.perf_counter() - self._start)

    def lap(self, step: str) -> None:
        """Record that a step ends now; it began when the step before it ended."""
        now = time.perf_counter()
        self._laps_ms[step] = 1e3 * (now - self._before)
        self._before = now

    def timings_ms(self) -> dict[str, float]:
        """Time of every step by name, and "total" from the beginning until now."""
        return {**self._laps_ms, "total": self.elapsed_ms}

"""Power that a Jetson draws, read from the INA3221 monitors on its board.

Each monitor measures up to three rails; Linux shows them as files: a label, a voltage in millivolts
and a current in milliamperes. No privileges are needed, and a reading costs some bus traffic, so
ten a second are enough.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from ckd.contract.errors import EngineError, EnvironmentUnusable

ROOT: Final = Path("/sys/bus/i2c/drivers/ina3221")
#: Channels of one monitor that measure a rail; a fourth one, if a monitor has it, is their sum.
_CHANNELS: Final = (1, 2, 3)
#: Supply of the whole module. Boards without this rail (AGX) measure its parts.
_WHOLE: Final = "VDD_IN"
#: Rails of an AGX module that no other rail contains; together they are most of it.
_PARTS: Final = frozenset(
    {"VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDD_GPU", "VDD_CPU_SOC_MSS"}
)


@dataclass(frozen=True, slots=True)
class Rail:
    """One supply: its name, and where its voltage and current are read."""

    label: str
    millivolts: Path
    milliamperes: Path

    def watts(self) -> float:
        """Power now.

        Raises:
            EngineError: the monitor does not answer.
        """
        try:
            millivolts, milliamperes = (
                int(path.read_text()) for path in (self.millivolts, self.milliamperes)
            )
        except (OSError, ValueError) as error:
            raise EngineError(f"cannot read the power of {self.label}: {error}") from error
        return millivolts * milliamperes / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerUse:
    """Power drawn over a stretch of time.

    Attributes:
        seconds: how long it was measured.
        samples: readings of every rail in this time.
        watts: mean power of each rail, by its label on the board.
        total: labels of the rails whose sum is what the module drew.
        frames: number of frames computed meanwhile.
    """

    seconds: float
    samples: int
    watts: Mapping[str, float]
    total: tuple[str, ...]
    frames: int

    @property
    def total_watts(self) -> float:
        """Mean power of the module."""
        return sum(self.watts[label] for label in self.total)

    @property
    def joules_per_frame(self) -> float | None:
        """Energy of the module, idle power included; None without a frame."""
        return self.total_watts * self.seconds / self.frames if self.frames else None


def find_rails(root: Path | None = None) -> tuple[Rail, ...]:
    """The rails that this board measures, in the order of its monitors.

    Args:
        root: where Linux shows the monitors; by default `ROOT`.

    Raises:
        EnvironmentUnusable: the board has none, or none that may be read.
    """
    root = ROOT if root is None else root
    rails: list[Rail] = []
    refused: Exception | None = None
    for channels in sorted(root.glob("*/hwmon/hwmon*")):
        for channel in _CHANNELS:
            try:
                label = (channels / f"in{channel}_label").read_text().strip()
                rail = Rail(
                    label,
                    channels / f"in{channel}_input",
                    channels / f"curr{channel}_input",
                )
                rail.watts()
            except FileNotFoundError:  # a channel that is not connected
                continue
            except (OSError, EngineError) as error:
                refused = error
                continue
            if label not in ("", "NC"):
                rails.append(rail)
    if not rails:
        why = f" ({refused})" if refused else ""
        raise EnvironmentUnusable(
            f"no power monitor that can be read below {root}{why}; a Jetson has INA3221 monitors "
            "there, elsewhere leave out --power"
        )
    return tuple(rails)


def whole_module(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Those of these rails whose sum is what the module draws; the others are supplied by them."""
    if _WHOLE in labels:
        return (_WHOLE,)
    return tuple(label for label in labels if label in _PARTS) or labels


class PowerMeter:
    """Reads all rails in a thread of its own for as long as a ``with`` block lasts.

    Args:
        rails: see `find_rails`.
        interval_s: between two readings.

    Raises:
        EngineError: at the end of the block, if a monitor stopped answering.
    """

    def __init__(self, rails: tuple[Rail, ...], interval_s: float = 0.1) -> None:
        self._rails, self._interval_s = rails, interval_s
        self._sums = dict.fromkeys((rail.label for rail in rails), 0.0)
        self._samples = 0
        self._start_s = self._seconds = 0.0
        self._error: EngineError | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="power", daemon=True)

    def __enter__(self) -> "PowerMeter":
        self._start_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._seconds = time.monotonic() - self._start_s
        self._stop.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def use(self, frames: int = 0) -> PowerUse:
        """What was drawn during the block, in which ``frames`` frames were computed."""
        watts = {label: total / self._samples for label, total in self._sums.items()}
        return PowerUse(
            seconds=self._seconds,
            samples=self._samples,
            watts=watts,
            total=whole_module(tuple(watts)),
            frames=frames,
        )

    def _sample(self) -> None:
        try:
            while True:  # at least once, however short the block is
                taken = {rail.label: rail.watts() for rail in self._rails}
                for label, watts in taken.items():
                    self._sums[label] += watts
                self._samples += 1
                if self._stop.wait(self._interval_s):
                    return
        except EngineError as error:
            self._error = error


@dataclass(frozen=True, slots=True)
class PowerReport:
    """Power while nothing ran here, and while frame followed frame."""

    idle: PowerUse
    busy: PowerUse

    @property
    def added_joules_per_frame(self) -> float | None:
        """Energy of a frame beyond idling; None without a frame."""
        if not self.busy.frames:
            return None
        added_watts = self.busy.total_watts - self.idle.total_watts
        return added_watts * self.busy.seconds / self.busy.frames


def measure_power(
    step: Callable[[], object],
    rails: tuple[Rail, ...],
    *,
    seconds: float = 10.0,
    idle_seconds: float = 3.0,
    interval_s: float = 0.1,
) -> PowerReport:
    """Idle for a while, then run ``step`` again and again without a pause.

    Args:
        step: one frame.
        rails: see `find_rails`.
        seconds: to run it for, at least; a last frame is finished.
        idle_seconds: to do nothing for, before.
        interval_s: between two readings.

    Raises:
        EngineError: a monitor stopped answering.
    """
    with PowerMeter(rails, interval_s) as idle:
        time.sleep(idle_seconds)
    frames = 0
    with PowerMeter(rails, interval_s) as busy:
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            step()
            frames += 1
    return PowerReport(idle.use(), busy.use(frames))

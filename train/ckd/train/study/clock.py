"""The time that every epoch of a study took, and the end of a piece of work.

pieces.csv    a row for each epoch that was finished: attempt, fold, stage, epoch, seconds
"""

import csv
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import lightning.pytorch as pl

from ckd.train.fitting.module import StageModule

PIECES: Final = "pieces.csv"
_COLUMNS: Final = ("attempt", "fold", "stage", "epoch", "seconds")


class TimeIsUp(Exception):
    """A study was told to stop by now; everything that was finished is kept."""


@dataclass
class Clock:
    """Times epochs, and ends the work after the epoch in which the time is up.

    Attributes:
        file: that the times are added to.
        seconds: of work, None for no end. At least one epoch is done in each call.
    """

    file: Path
    seconds: float | None = None
    _began: float = field(default_factory=time.monotonic)
    _epochs: int = 0

    def check(self) -> None:
        """Raise `TimeIsUp` if it is, and something was done."""
        if self.seconds is None or not self._epochs:
            return
        if time.monotonic() - self._began >= self.seconds:
            raise TimeIsUp

    def note(self, *row: object) -> None:
        """Add a row to the file, at once."""
        self._epochs += 1
        content = self.file.read_bytes() if self.file.exists() else b""
        with self.file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not content:
                writer.writerow(_COLUMNS)
            elif not content.endswith(b"\n"):
                file.write("\r\n")  # a loss of power cut the last row short
            writer.writerow(row)


class TimedEpochs(pl.Callback):
    """Tells a clock of every epoch of one attempt on one fold."""

    def __init__(self, clock: Clock, attempt: str, fold: str) -> None:
        self.clock, self.attempt, self.fold = clock, attempt, fold
        self.began = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before another epoch if the time is up: the last one is saved by now."""
        self.clock.check()
        self.began = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write down what the epoch took, its validation included."""
        seconds = round(time.monotonic() - self.began, 1)
        assert isinstance(pl_module, StageModule)
        row = (self.attempt, self.fold, pl_module.stage.name, trainer.current_epoch, seconds)
        self.clock.note(*row)


def seconds_by_stage(file: Path) -> Mapping[tuple[str, str, str], list[float]]:
    """Seconds of the epochs by (attempt, fold, stage); empty without a file."""
    times: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    if file.exists():
        with file.open(newline="", encoding="utf-8") as rows:
            for row in csv.reader(rows):
                # The head, and a row that a loss of power cut short, say nothing.
                if len(row) == len(_COLUMNS) and _is_number(row[-1]):
                    attempt, fold, stage, _, seconds = row
                    times[attempt, fold, stage].append(float(seconds))
    return times


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()

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
        is_new = not self.file.exists()
        with self.file.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if is_new:
                writer.writerow(_COLUMNS)
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
            for row in csv.DictReader(rows):
                # A row that a loss of power cut short says nothing.
                if row["seconds"]:
                    times[row["attempt"], row["fold"], row["stage"]].append(float(row["seconds"]))
    return times

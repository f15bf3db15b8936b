"""How a recording stands, in numbers and in words."""

from dataclasses import dataclass
from pathlib import Path

from ckd.contract.errors import EnvironmentUnusable
from ckd.runtime.sinks.free_space import SOON_S, time_shown


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingState:
    """A recording at one moment."""

    path: Path
    num_pictures: int = 0  # that are on the disk; of MP4, that ffmpeg has
    num_left_out: int = 0  # because the disk, or ffmpeg, was too slow
    num_bytes: int = 0
    time_left_s: float | None = None  # until the disk is full at this rate, as far as it is known
    ended_by: str = ""  # what ended it early; empty while all is well

    @property
    def warning(self) -> str:
        """What people who watch must know; an empty text while all is well."""
        if self.ended_by:
            return f"Recording ended early: {self.ended_by}"
        if self.time_left_s is not None and self.time_left_s < SOON_S:
            return f"Disk full in {time_shown(self.time_left_s)}, then the recording ends"
        if self.num_left_out:
            return f"{self.num_left_out} pictures are not recorded: the disk is too slow"
        return ""

    @property
    def summary(self) -> str:
        """One line for the person who started it."""
        if not self.num_pictures:
            return f"recorded no picture, so there is no {self.path}"
        left_out = f", {self.num_left_out} left out (the disk is too slow)" * bool(
            self.num_left_out
        )
        return (
            f"recorded {self.num_pictures} pictures, {self.num_bytes / 1e6:.1f} MB, "
            f"in {self.path}{left_out}"
        )

    def check(self) -> None:
        """Raise `EnvironmentUnusable` if the recording ended early."""
        if self.ended_by:
            raise EnvironmentUnusable(
                f"{self.path}: the recording ended early, after {self.num_pictures} pictures: "
                f"{self.ended_by}"
            )

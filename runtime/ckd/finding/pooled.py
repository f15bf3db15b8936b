"""An answer over several frames of one lesion: over how many, and how sure."""

from dataclasses import dataclass
from typing import Any

from ckd.finding.sentences import shown


@dataclass(frozen=True, slots=True)
class Pooled:
    """What an answer that is pooled over frames rests on.

    Attributes:
        frames: that were pooled.
        settled: it is not expected to change while this lesion is looked at; never of an answer
            that is held.
        spread: standard deviation of the target's probability over these frames, or of the most
            probable label's where nothing is looked for.
        age_s: seconds since the last of them; 0 if this frame is one of them.
    """

    frames: int
    settled: bool
    spread: float
    age_s: float = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this frame could not be pooled, so that the answer is that of frames before."""
        return self.age_s > 0

    @property
    def shown(self) -> str:
        """One sentence for the person who looks at it."""
        if self.is_held:
            return shown("held", age=f"{self.age_s:.1f}")
        return shown("settled" if self.settled else "settling", frames=self.frames)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; see `docs/finding.schema.json`."""
        return {
            "settled": self.settled,
            "frames": self.frames,
            "spread": round(self.spread, 4),
            "age_s": round(self.age_s, 3),
        }

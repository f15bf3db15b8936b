"""How well a picture was taken: hints to the person who holds the camera.

``lens_cap`` and ``no_skin`` are what `ckd.finding.outcome` says of a picture with nothing to judge;
all others are measured by `ckd.capture`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ckd.finding.sentences import sentence, shown

#: In the order in which a person is told of them, one at a time: what hides others comes first.
HINTS: Final = (
    "lens_cap", "no_skin", "motion", "out_of_focus", "over_exposed", "under_exposed", "glare",
    "cut_off", "too_small", "off_centre", "occluded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Capture:
    """The judgement of one picture.

    Attributes:
        hints: codes from `HINTS`, in their order; none for a good picture.
        scores: by name of the check, what was measured.
        told: of a camera's frames, the hint that people are told, which does not flicker; empty for
            none. Of a photograph it is None, and they are told the first one.
    """

    hints: tuple[str, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    told: str | None = None

    @property
    def good(self) -> bool:
        """Whether there is no hint."""
        return not self.hints

    @property
    def shown(self) -> str:
        """What to do, as one short sentence in the language of who looks; empty if all is well."""
        told = self.told if self.told is not None else self._first
        return shown(f"hint_{told}") if told else ""

    @property
    def _first(self) -> str:
        return self.hints[0] if self.hints else ""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; see `docs/finding.schema.json`."""
        return {
            "good": self.good,
            "hints": [{"code": code, "text": sentence(f"hint_{code}")} for code in self.hints],
            "scores": {name: round(value, 4) for name, value in self.scores.items()},
        }

"""What a replay came to: which frames differ, and which decisions another bundle changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ckd.finding.verdict import PARTS, Verdict
from ckd.runtime.journal.differences import Difference
from ckd.runtime.journal.replay import Replayed

#: What a frame without finite numbers comes to.
_NOTHING = Verdict(None, None, None)
_REFERRAL = {True: "refer", False: "no referral", None: "none"}
_DECISION = {True: "flagged", False: "not flagged", None: "none"}


@dataclass(slots=True)
class Change:
    """Frames that follow each other and whose verdict changed in the same way."""

    first: int
    last: int
    recorded: Verdict
    now: Verdict

    @property
    def row(self) -> tuple[str, ...]:
        """Frames, label, decision and referral; empty cells where nothing changed."""
        frames = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        one, other = self.recorded, self.now
        return (
            frames,
            _cell(one.label or "none", other.label or "none"),
            _cell(_DECISION[one.decision], _DECISION[other.decision]),
            _cell(_REFERRAL[one.referral], _REFERRAL[other.referral]),
        )


class Outcome:
    """Counts replayed frames, and keeps what differs.

    Attributes:
        num_frames: that were replayed.
        num_different: whose bits differ; only counted with the same bundle.
        num_changed: whose verdict changed.
        first: difference of the first frame that differs.
        changes: of verdicts, in the order of the frames.
        parts: how often each of `PARTS` changed.
    """

    def __init__(self) -> None:
        self.num_frames = self.num_different = self.num_changed = 0
        self.first: Difference | None = None
        self.changes: list[Change] = []
        self.parts: Counter[str] = Counter()
        self._outputs: dict[str, tuple[int, float | None]] = {}

    def add(self, one: Replayed) -> tuple[str, ...]:
        """Count a frame; gives the parts of its verdict that changed."""
        self.num_frames += 1
        if one.difference is not None:
            self.num_different += 1
            self.first = self.first or one.difference
            self._add_outputs(one.difference)
        now, recorded = _verdict(one), one.stored.verdict
        changed = now.changed(recorded)
        if changed:
            self.num_changed += 1
            self.parts.update(changed)
            self._add_change(one.stored.number, recorded, now)
        return changed

    @property
    def summary(self) -> str:
        """How many decisions changed, in one clause."""
        counts = ", ".join(f"{part} in {self.parts[part]}" for part in PARTS if self.parts[part])
        return f"{self.num_changed} of {self.num_frames} frames changed" + f" ({counts})" * bool(
            counts
        )

    def output_rows(self) -> list[tuple[str, str, str]]:
        """Of each output that differs anywhere: its name, frames, and the largest difference."""
        return [
            (name, str(count), "not finite" if largest is None else f"{largest:.3g}")
            for name, (count, largest) in self._outputs.items()
        ]

    def _add_outputs(self, found: Difference) -> None:
        for name, largest in found.by_output.items():
            count, before = self._outputs.get(name, (0, 0.0))
            known = None if largest is None or before is None else max(largest, before)
            self._outputs[name] = (count + 1, known)

    def _add_change(self, number: int, recorded: Verdict, now: Verdict) -> None:
        last = self.changes[-1] if self.changes else None
        if last and (last.last, last.recorded, last.now) == (number - 1, recorded, now):
            last.last = number
        else:
            self.changes.append(Change(number, number, recorded, now))


def line_of(run: str, one: Replayed, changed: Sequence[str]) -> dict[str, Any]:
    """A replayed frame as one JSON object: the finding of now, and how it compares.

    Args:
        run: name of the run.
        one: the frame.
        changed: parts of the verdict that changed.
    """
    number = one.stored.number
    finding = {"outcome": None} if one.finding is None else one.finding.as_dict()
    return {
        "image": f"{run}#{number}",
        "frame": number,
        "differs": None if one.difference is None else one.difference.shown,
        "changed": list(changed),
        **finding,
    }


def _verdict(one: Replayed) -> Verdict:
    return _NOTHING if one.finding is None else one.finding.verdict


def _cell(recorded: str, now: str) -> str:
    return "" if recorded == now else f"{recorded} -> {now}"

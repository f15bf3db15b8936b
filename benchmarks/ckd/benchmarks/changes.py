"""What one bundle says otherwise than another one, image by image.

changes.csv   a row for every image: truth, most probable label, decisions and Jaccard of both
changes.md    counts, and the images on which a decision or a mask changed, for a model card
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ckd.contract.cells import cell
from ckd.contract.errors import UsageError
from ckd.contract.labels import label_of
from ckd.contract.spec import CascadeSpec
from ckd.contract.whole_file import replace_file
from ckd.finding.verdict import Verdict
from ckd.scores.images import ImageScore
from ckd.train.evaluation.summary import Evaluation

#: A mask that moves by so much Jaccard index counts as better or worse.
MASK_CHANGED: Final = 0.01
#: One that moves by so much is named.
MASK_MOVED: Final = 0.1
_MOST_NAMED: Final = 40
_NO_VERDICT: Final = Verdict(None, None, None)


@dataclass(frozen=True, slots=True)
class Change:
    """One image in both bundles; None where a bundle or the truth says nothing.

    Attributes:
        image: id.
        truth: true label.
        top: most probable label before and after.
        decision: whether it is flagged, before and after.
        referral: whether a referral is suggested, before and after.
        target: probability of the first task before and after.
        jaccard: of the fine mask, or of the coarse one, before and after.
    """

    image: str
    truth: str | None
    top: tuple[str | None, str | None]
    decision: tuple[bool | None, bool | None]
    referral: tuple[bool | None, bool | None]
    target: tuple[float | None, float | None]
    jaccard: tuple[float | None, float | None]

    @property
    def is_other_decision(self) -> bool:
        """Whether the most probable label, the decision or the referral changed."""
        return any(pair[0] != pair[1] for pair in (self.top, self.decision, self.referral))

    @property
    def mask_moved(self) -> float:
        """Gain of Jaccard index, 0 without masks."""
        before, after = self.jaccard
        return 0.0 if before is None or after is None else after - before


def changes(
    before: Evaluation, after: Evaluation, specs: tuple[CascadeSpec, CascadeSpec]
) -> list[Change]:
    """Every image in both.

    Raises:
        UsageError: the bundles answer different questions.
    """
    if before.labels != after.labels:
        raise UsageError(
            f"{before.recipe} answers {', '.join(before.labels)}, {after.recipe} "
            f"{', '.join(after.labels)}; only bundles of the same labels can be compared"
        )
    rows = []
    for first, second in zip(before.images, after.images, strict=True):
        one, other = first.verdict or _NO_VERDICT, second.verdict or _NO_VERDICT
        rows.append(
            Change(
                first.id,
                None if first.label is None else label_of(before.labels, first.label),
                (one.label, other.label),
                (one.decision, other.decision),
                (one.referral, other.referral),
                (_target(first, specs[0]), _target(second, specs[1])),
                (_jaccard(first), _jaccard(second)),
            )
        )
    return rows


def write_changes(rows: Sequence[Change], names: tuple[str, str], folder: Path) -> None:
    """Write both files into a folder that exists."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    pairs = ("top", "decision", "referral", "target", "jaccard")
    writer.writerow(
        ("image", "truth", *(f"{name}_{when}" for name in pairs for when in ("before", "after")))
    )
    for row in rows:
        cells = [_cell(value) for name in pairs for value in getattr(row, name)]
        writer.writerow(map(cell, (row.image, row.truth or "", *cells)))
    replace_file(folder / "changes.csv", text.getvalue().encode())
    replace_file(folder / "changes.md", _markdown(rows, names).encode())


def _markdown(rows: Sequence[Change], names: tuple[str, str]) -> str:
    others = [row for row in rows if row.is_other_decision]
    moved = [row for row in rows if abs(row.mask_moved) >= MASK_MOVED]
    better = sum(row.mask_moved >= MASK_CHANGED for row in rows)
    worse = sum(row.mask_moved <= -MASK_CHANGED for row in rows)
    lines = [
        f"## What changed from {names[0]} to {names[1]}",
        "",
        f"On {len(rows)} images: {_right(others)}; masks are better on {better} and worse on "
        f"{worse} images, by {MASK_MOVED} Jaccard or more on {len(moved)}.",
        "",
        "| image | truth | most probable | flagged | referred | Jaccard |",
        "|---|---|---|---|---|---|",
    ]
    named = sorted({*others, *moved}, key=lambda row: row.image)
    for row in named[:_MOST_NAMED]:
        pairs = (
            _cell(before) or "none" if _cell(before) == _cell(after) else
            f"{_cell(before) or 'none'} -> {_cell(after) or 'none'}"
            for before, after in (row.top, row.decision, row.referral, row.jaccard)
        )  # fmt: skip
        lines.append(f"| {row.image} | {row.truth or ''} | {' | '.join(pairs)} |")
    if len(named) > _MOST_NAMED:
        lines.append(f"\n{len(named) - _MOST_NAMED} more stand in changes.csv.")
    return "\n".join(lines) + "\n"


def _right(others: Sequence[Change]) -> str:
    """How many changed labels became right and wrong."""
    tops = [row for row in others if row.top[0] != row.top[1] and row.truth is not None]
    gained = sum(row.top[1] == row.truth for row in tops)
    lost = sum(row.top[0] == row.truth for row in tops)
    return (
        f"the most probable label, the decision or the referral changed on {len(others)}; of the "
        f"labels {gained} became right and {lost} became wrong"
    )


def _probabilities(score: ImageScore, spec: CascadeSpec) -> Mapping[str, float]:
    return dict(zip(spec.labels, score.probabilities or (), strict=False))


def _target(score: ImageScore, spec: CascadeSpec) -> float | None:
    return _probabilities(score, spec).get(spec.tasks[0]) if spec.tasks else None


def _jaccard(score: ImageScore) -> float | None:
    mask = score.fine or score.coarse
    return None if mask is None else mask.jaccard


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)

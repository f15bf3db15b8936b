"""What robustness comes to: mean and worst of each figure, as text and as tables.

`ckd.train.evaluation.robustness_folder` writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ckd.console.tables import text_table
from ckd.data.corruptions import CORRUPTIONS
from ckd.scores.estimates import (
    LEAST,
    NOT_ASSESSED,
    SHARES,
    Estimate,
    Figure,
    estimate_text,
)
from ckd.scores.groups import markdown_table
from ckd.scores.metrics import bootstrap_interval
from ckd.scores.shares import share_interval
from ckd.train.evaluation.robustness import Robustness, Setting

#: What is told: names for people, and whether more is better.
TOLD: Final[dict[Figure, tuple[str, bool]]] = {
    "mean_auc": ("mean AUC", True),
    "jaccard": ("fine Jaccard", True),
    "sensitivity": ("sensitivity", True),
    "referred": ("referred", False),
    "unanswered": ("without a finding", False),
}
#: Draws for intervals of means over all settings, each of which takes fifty AUCs.
_REPEATS: Final = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """One figure over all kinds and grades; None where it was not assessed.

    Attributes:
        figure: its name.
        undamaged: of the photographs as they are.
        mean: over all settings. The interval of a share is that of one setting, which is wider.
        worst: of the setting with the worst value. Chosen among many, it is partly chance.
        worst_at: its setting; None if all are equal.
    """

    figure: Figure
    undamaged: Estimate | None
    mean: Estimate | None
    worst: Estimate | None
    worst_at: Setting | None

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        parts = {"undamaged": self.undamaged, "mean": self.mean, "worst": self.worst}
        at = self.worst_at
        return {
            **{name: None if e is None else e.as_dict() for name, e in parts.items()},
            "worst_at": None if at is None else {"kind": at.kind, "grade": at.grade},
        }


def summaries(robustness: Robustness) -> tuple[Summary, ...]:
    """Each figure that is told, over all settings."""
    return tuple(_summary(robustness, figure) for figure in TOLD)


def _summary(robustness: Robustness, figure: Figure) -> Summary:
    undamaged = robustness.undamaged.estimate(figure)
    values = [value_of(setting, figure) for setting in robustness.settings]
    if undamaged is None or np.isnan(values).any():
        return Summary(figure, undamaged, None, None, None)
    value = float(np.mean(values))
    if figure in SHARES:
        low, high = share_interval(round(value * undamaged.count), undamaged.count)
    else:
        answers = [setting.answered for setting in robustness.settings]
        low, high = bootstrap_interval(
            lambda drawn: float(np.mean([one.value(figure, drawn) for one in answers])),
            robustness.undamaged.num_images,
            repeats=_REPEATS,
        )
    mean = Estimate(value, low, high, undamaged.count)
    is_better_high = TOLD[figure][1]
    at = robustness.settings[int(np.argmin(values) if is_better_high else np.argmax(values))]
    worst_at = at if min(values) < max(values) else None
    return Summary(figure, undamaged, mean, at.answered.estimate(figure), worst_at)


def value_of(setting: Setting, figure: Figure) -> float:
    """A figure in one setting; nan if too few images are its base."""
    rows = np.arange(setting.answered.num_images)
    return setting.answered.value(figure, rows, LEAST)


def summary_table(
    summary: Sequence[Summary],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows: each figure undamaged, in the mean, and at its worst."""
    rows = []
    for one in summary:
        cells = map(estimate_text, (one.undamaged, one.mean, one.worst))
        at = "" if one.worst_at is None else f"{one.worst_at.kind}, grade {one.worst_at.grade}"
        rows.append((TOLD[one.figure][0], *cells, at))
    return ("figure", "undamaged", "mean", "worst", "worst at"), rows


def kind_table(robustness: Robustness) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows: mean and worst over the grades of each kind."""
    rows = []
    for kind, settings in robustness.kinds().items():
        cells = [kind]
        for figure, (_, is_better_high) in TOLD.items():
            values = np.array([value_of(setting, figure) for setting in settings])
            worst = values.min() if is_better_high else values.max()
            is_known = not np.isnan(values).any()
            cells.append(f"{values.mean():.3f} / {worst:.3f}" if is_known else NOT_ASSESSED)
        rows.append(tuple(cells))
    return ("kind", *(name for name, _ in TOLD.values())), rows


def robustness_terminal(robustness: Robustness, summary: Sequence[Summary], about: str) -> str:
    """Both tables for a terminal."""
    tables = (summary_table(summary), kind_table(robustness))
    return "\n\n".join([about, *(text_table(*table) for table in tables)])


def robustness_text(robustness: Robustness, summary: Sequence[Summary], about: str) -> str:
    """Both tables as Markdown for a model card, and what the grades are.

    Args:
        robustness: what was answered.
        summary: of `summaries`.
        about: sentence that says which images were damaged, and by which point was decided.
    """
    chosen = [CORRUPTIONS[kind] for kind in robustness.kinds()]
    grades = [(c.name, c.meaning, ", ".join(f"{x:g}" for x in c.strengths)) for c in chosen]
    return "\n".join(
        [
            f"{about} In brackets are 95 % intervals over images. The worst of many settings is "
            "partly chance. An image without a finding is neither flagged nor referred.",
            "",
            *markdown_table(*summary_table(summary)),
            "",
            "Mean / worst over the five grades of each kind:",
            "",
            *markdown_table(*kind_table(robustness)),
            "",
            "What the grades are:",
            "",
            *markdown_table(("kind", "its number", "grades 1 to 5"), grades),
        ]
    )


def robustness_dict(robustness: Robustness, summary: Sequence[Summary]) -> dict[str, Any]:
    """All figures, ready for JSON; what was not assessed is None."""
    return {
        "num_images": robustness.undamaged.num_images,
        "summary": {one.figure: one.as_dict() for one in summary},
        "settings": [
            {
                "kind": setting.kind,
                "grade": setting.grade,
                "strength": CORRUPTIONS[setting.kind].strengths[setting.grade - 1],
                **{f: None if np.isnan(v := value_of(setting, f)) else v for f in TOLD},
            }
            for setting in robustness.settings
        ],
    }

"""For whom the answers are right: figures of each group of photographs, with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ckd.data.groups import Group
from ckd.scores.estimates import LEAST, Answered, Estimate, Figure, estimate_text

#: What is told of each group.
_FIGURES: Final[tuple[Figure, ...]] = (
    "jaccard", "target_auc", "sensitivity", "specificity", "referred",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GroupScore:
    """The figures of one group.

    Attributes:
        kind: of the group, such as "skin tone".
        name: of the group.
        count: number of its images.
        estimates: by figure; None where it was not assessed.
    """

    kind: str
    name: str
    count: int
    estimates: Mapping[Figure, Estimate | None]

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; what was not assessed is None."""
        figures: dict[str, Any] = {
            name: None if found is None else found.as_dict()
            for name, found in self.estimates.items()
        }
        return {"kind": self.kind, "name": self.name, "count": self.count, **figures}


def group_scores(answered: Answered, groups: Sequence[Group]) -> tuple[GroupScore, ...]:
    """The figures of all images and of each group, empty groups included.

    Args:
        answered: of a data set.
        groups: of the same data set.
    """
    everything = Group("all", "all images", tuple(range(answered.num_images)))
    scores = []
    for group in (everything, *groups):
        rows_R = np.array(group.images, np.intp)
        estimates = {figure: answered.estimate(figure, rows_R) for figure in _FIGURES}
        scores.append(GroupScore(group.kind, group.name, len(group.images), estimates))
    return tuple(scores)


def group_table(
    scores: Sequence[GroupScore], target: str | None
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows of a table, for a terminal or a page."""
    auc = "AUC" if target is None else f"AUC {target}"
    head = ("group", "images", "Jaccard", auc, "sensitivity", "specificity", "referred")
    rows = [
        (one.name, str(one.count), *(estimate_text(one.estimates[name]) for name in _FIGURES))
        for one in scores
    ]
    return head, rows


def groups_text(scores: Sequence[GroupScore], target: str | None, about: str) -> str:
    """The table as Markdown for a model card.

    Args:
        scores: of `group_scores`.
        target: the label that is looked for.
        about: sentence that says which images were counted, and by which operating point.
    """
    head, rows = group_table(scores, target)
    return "\n".join(
        [
            f"{about} In brackets are 95 % intervals: bootstrapped over images for Jaccard index "
            f"and AUC, Wilson's for shares. A figure that fewer than {LEAST} images are the base "
            "of is not assessed. Lesions are small, middle or large by thirds of these images; "
            "skin tone is the typology angle of the skin around the lesion as the camera shows "
            "it, an estimate; hair is dark hair, measured.",
            "",
            *markdown_table(head, rows),
        ]
    )


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]

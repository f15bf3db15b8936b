"""What lower precision costs in clinical terms, on images whose truth is known.

Suffixes: N images, K classes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.console import Progress
from ckd.contract.labels import label_of
from ckd.contract.spec import CascadeSpec
from ckd.data.groups import groups_of as image_groups
from ckd.data.groups import read_traits
from ckd.data.samples import SampleSet
from ckd.finding.finding import Finding
from ckd.finding.verdict import PARTS
from ckd.picture.decode import read_rgb
from ckd.scores.images import ImageScore, score_finding
from ckd.scores.ranking import roc_auc
from ckd.scores.shares import share_interval

#: Groups of fewer images say more about chance than about precision.
MIN_GROUP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that lower precision may cost.

    Attributes:
        jaccard: loss of the mean Jaccard index of the masks.
        auc: loss of the AUC of each task.
        flips: share of the images on which the most probable label changes; likewise the decision
            at the operating point, and the suggestion to refer.
        melanoma_flips: number of melanomas on which any of these changes.
        group_factor: no group (class, lesion size, skin tone) loses more Jaccard than this many
            times what all images may lose on average.
    """

    jaccard: float = 0.005
    auc: float = 0.005
    flips: float = 0.01
    melanoma_flips: int = 0
    group_factor: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was lost against float32 on the same images; negative where something was gained.

    Attributes:
        jaccard: of the mean Jaccard index of the masks; None without masks.
        auc: by task.
        flips: by part of the verdict ("label", "decision", "referral"; only parts that the cascade
            gives), the share of images on which it changed.
        melanoma_flips: melanomas on which any part changed.
        groups: of the Jaccard index, by group.
        num_images: that all this was counted on.
    """

    jaccard: float | None
    auc: Mapping[str, float]
    flips: Mapping[str, float]
    melanoma_flips: int
    groups: Mapping[str, float] = field(default_factory=dict)
    num_images: int = 0

    def uses(self, budget: Budget) -> dict[str, tuple[float, float]]:
        """What was lost and what may be lost, by the name of the loss."""
        uses = {}
        if self.jaccard is not None:
            uses["Jaccard lost"] = (self.jaccard, budget.jaccard)
        uses |= {f"AUC lost, {task}": (loss, budget.auc) for task, loss in self.auc.items()}
        uses |= {f"{part}s changed": (share, budget.flips) for part, share in self.flips.items()}
        uses["melanomas changed"] = (float(self.melanoma_flips), budget.melanoma_flips)
        limit = budget.group_factor * budget.jaccard
        uses |= {f"Jaccard lost, {name}": (loss, limit) for name, loss in self.groups.items()}
        return uses

    def misses(self, budget: Budget) -> list[str]:
        """A sentence for each loss that is over the budget."""
        return [
            f"{what} {lost:.3g} over {limit:g}"
            for what, (lost, limit) in self.uses(budget).items()
            if not lost <= limit  # also where it is not a number
        ]

    def largest_share(self, budget: Budget) -> float:
        """The largest part of any limit that is used up; infinite if a limit of 0 is exceeded."""
        return max(
            max(lost, 0.0) / limit if limit > 0 else (math.inf if lost > limit else 0.0)
            for lost, limit in self.uses(budget).values()
        )

    def summary(self) -> str:
        """The losses on one line, without those of groups."""
        jaccard = [] if self.jaccard is None else [f"Jaccard {-self.jaccard:+.4f}"]
        auc = [f"AUC {task} {-loss:+.4f}" for task, loss in self.auc.items()]
        flips = [f"{part}s changed {share:.1%}" for part, share in self.flips.items()]
        return ", ".join([*jaccard, *auc, *flips])

    def flips_in_words(self) -> str:
        """The share of each part that changed, with its 95 % interval."""
        words = []
        for part, share in self.flips.items():
            low, high = share_interval(round(share * self.num_images), self.num_images)
            words.append(f"{part}s {share:.1%} ({low:.1%} to {high:.1%})")
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return asdict(self)


def answer(
    predict: Callable[[NDArray[np.uint8]], Finding],
    samples: SampleSet,
    progress: Progress | None = None,
) -> tuple[ImageScore, ...]:
    """Let ``predict`` answer every image, and score its findings.

    Raises:
        InputError: an image or mask cannot be read.
    """
    scores = []
    for done, sample in enumerate(samples.samples, start=1):
        scores.append(score_finding(predict(read_rgb(sample.image)), sample))
        if progress is not None:
            progress(done, len(samples))
    return tuple(scores)


def cost_of(
    rounded: Sequence[ImageScore],
    exact: Sequence[ImageScore],
    samples: SampleSet,
    spec: CascadeSpec,
    groups: Mapping[str, Sequence[int]],
) -> Cost:
    """The cost of rounding: scores of lower precision against exact ones of the same images.

    ``groups`` are indices of images, see `groups_of`.
    """
    losses_N = _jaccards(exact) - _jaccards(rounded)
    parts_N = _changed_parts(rounded, exact)
    is_melanoma_N = np.array(
        [s.label is not None and label_of(spec.labels, s.label) == "MEL" for s in samples.samples]
    )
    exact_NK, rounded_NK = _probabilities(exact), _probabilities(rounded)
    auc: dict[str, float] = {}
    if rounded_NK is not None and exact_NK is not None:
        labels_N = np.array([-1 if s.label is None else s.label for s in samples.samples])
        for task in spec.tasks:
            k = spec.labels.index(task)
            before_N, after_N = exact_NK[:, k], rounded_NK[:, k]
            known, positive = labels_N >= 0, labels_N == k
            if positive.any() and (known & ~positive).any():
                auc[task] = roc_auc(before_N[known], positive[known]) - roc_auc(
                    after_N[known], positive[known]
                )
    return Cost(
        jaccard=_mean(losses_N),
        auc=auc,
        flips={part: int(parts_N[part].sum()) / len(samples) for part in parts_N},
        melanoma_flips=int((np.any([*parts_N.values()], axis=0) & is_melanoma_N).sum()),
        groups={
            name: loss
            for name, i in groups.items()
            if (loss := _mean(losses_N[list(i)])) is not None
        },
        num_images=len(samples),
    )


def _changed_parts(
    rounded: Sequence[ImageScore], exact: Sequence[ImageScore]
) -> dict[str, NDArray[np.bool_]]:
    """By part of the verdict that any image has, on which images it changed."""
    parts_N = {}
    for part in PARTS:
        of = [tuple(getattr(s.verdict, part, None) for s in scores) for scores in (exact, rounded)]
        if any(value is not None for values in of for value in values):
            parts_N[part] = np.array([a != b for a, b in zip(*of, strict=True)], bool)
    return parts_N


def groups_of(samples: SampleSet) -> dict[str, list[int]]:
    """Indices of the images of each class, third of lesion sizes and skin tone.

    Groups of fewer than `MIN_GROUP` images are left out, and those by hair.

    Raises:
        InputError: an image or mask cannot be read.
    """
    groups = image_groups(samples, [read_traits(sample) for sample in samples.samples])
    return {
        group.name: list(group.images)
        for group in groups
        if group.kind != "hair" and len(group.images) >= MIN_GROUP
    }


def _jaccards(scores: Sequence[ImageScore]) -> NDArray[np.float64]:
    """Jaccard indices of the fine masks, or of the coarse ones; nan where an image has no mask."""
    masks = [score.fine or score.coarse for score in scores]
    return np.array([np.nan if mask is None else mask.jaccard for mask in masks])


def _probabilities(scores: Sequence[ImageScore]) -> NDArray[np.float64] | None:
    """[N, K]; None if an image has none."""
    rows = [score.probabilities for score in scores if score.probabilities is not None]
    return np.array(rows) if len(rows) == len(scores) else None


def _mean(losses_N: NDArray[np.float64]) -> float | None:
    known = losses_N[~np.isnan(losses_N)]
    return float(known.mean()) if known.size else None

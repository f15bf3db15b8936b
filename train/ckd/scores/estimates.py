"""Figures of any selection of images, each with its 95 % interval, or none where it has no base.

    mean_auc     mean AUC of the headline labels
    target_auc   AUC of the label that is looked for
    jaccard      mean Jaccard index of the fine masks
    sensitivity  share of the images of the target that are flagged
    specificity  share of the images of other labels that are not
    referred     share of the images for which a referral is suggested
    unanswered   share of the images without a finding

The last four need the rules for decisions of a bundle. An image without a finding is neither
flagged nor referred, since a device asks for another photograph then. Intervals of AUC and Jaccard
index are bootstrapped over images, those of shares are Wilson's.

Suffixes: N images, K labels, R images that are chosen, by their indices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ckd.scores.images import ImageScore
from ckd.scores.metrics import bootstrap_interval
from ckd.scores.ranking import roc_auc
from ckd.scores.shares import share_interval

Figure = Literal[
    "mean_auc", "target_auc", "jaccard", "sensitivity", "specificity", "referred", "unanswered"
]
FIGURES: Final[tuple[Figure, ...]] = get_args(Figure)
#: Those that need rules for decisions.
SHARES: Final[tuple[Figure, ...]] = ("sensitivity", "specificity", "referred", "unanswered")
#: Of fewer images (for an AUC: of the label, or of others) there is no figure.
LEAST: Final = 5
NOT_ASSESSED: Final = "not assessed"

Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: from 0 to 1.
        low: end of the interval.
        high: end of the interval.
        count: images that it was counted on.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {"value": self.value, "interval_95": [self.low, self.high], "count": self.count}


def estimate_text(estimate: Estimate | None) -> str:
    """An estimate as one cell of a table."""
    return NOT_ASSESSED if estimate is None else str(estimate)


class Answered:
    """What was answered for a set of images, ready to be counted on any selection of them.

    Args:
        images: scores of the images, in the order of the data set.
        labels: class names in the order of each image's probabilities.
        tasks: labels of the mean AUC.
        target: the label that is looked for; None if the networks know no labels.
        decides: verdicts were made by rules for decisions, so that they say something of them.
    """

    def __init__(
        self,
        images: Sequence[ImageScore],
        *,
        labels: Sequence[str],
        tasks: Sequence[str],
        target: str | None,
        decides: bool,
    ) -> None:
        unknown = (np.nan,) * len(labels)
        self._probabilities_NK = np.array(
            [unknown if one.probabilities is None else one.probabilities for one in images]
        ).reshape(len(images), len(labels))
        self._label_N = np.array(
            [-1 if s.label is None or s.probabilities is None else s.label for s in images], int
        )
        self._jaccard_N = np.array([np.nan if s.fine is None else s.fine.jaccard for s in images])
        verdicts = [one.verdict for one in images]
        flagged_N = np.array([v is not None and v.decision is True for v in verdicts], bool)
        referred_N = np.array([v is not None and v.referral is True for v in verdicts], bool)
        unanswered_N = np.array([v is None or v.decision is None for v in verdicts], bool)
        is_target_N = self._label_N == (-2 if target is None else list(labels).index(target))
        is_other_N = (self._label_N >= 0) & ~is_target_N
        everywhere_N = np.ones(len(images), bool)
        self._shares_N = {
            "sensitivity": (is_target_N, flagged_N),
            "specificity": (is_other_N, ~flagged_N),
            "referred": (everywhere_N, referred_N),
            "unanswered": (everywhere_N, unanswered_N),
        }
        self._columns = {
            "mean_auc": [list(labels).index(task) for task in tasks],
            "target_auc": [] if target is None else [list(labels).index(target)],
        }
        self._decides = decides
        self.num_images = len(images)

    def value(self, figure: Figure, rows_R: Rows, least: int = 1) -> float:
        """A figure of the images with these indices, which may repeat; nan if it has no base.

        Args:
            figure: its name.
            rows_R: indices.
            least: number of images that are a base.
        """
        if figure == "jaccard":
            known = self._jaccard_N[rows_R]
            known = known[~np.isnan(known)]
            return float(known.mean()) if len(known) >= least else np.nan
        if figure in self._columns:
            return self._auc(figure, rows_R, least)
        among_R, hits_R = (array_N[rows_R] for array_N in self._shares_N[figure])
        count = int(np.count_nonzero(among_R))
        if not self._decides or count < least:
            return np.nan
        return float(np.count_nonzero(hits_R & among_R)) / count

    def estimate(self, figure: Figure, rows_R: Rows | None = None) -> Estimate | None:
        """A figure with its interval; None if less than `LEAST` images are its base.

        Args:
            figure: its name.
            rows_R: indices of the images to count on; by default all.
        """
        rows_R = np.arange(self.num_images) if rows_R is None else rows_R
        value = self.value(figure, rows_R, LEAST)
        if np.isnan(value):
            return None
        if figure in SHARES:
            among_N, hits_N = self._shares_N[figure]
            total = int(among_N[rows_R].sum())
            low, high = share_interval(int((among_N & hits_N)[rows_R].sum()), total)
            return Estimate(value, low, high, total)
        base_N = ~np.isnan(self._jaccard_N) if figure == "jaccard" else self._label_N >= 0
        based_R = rows_R[base_N[rows_R]]
        low, high = bootstrap_interval(
            lambda drawn: self.value(figure, based_R[drawn]), len(based_R)
        )
        return Estimate(value, low, high, len(based_R))

    def _auc(self, figure: Figure, rows_R: Rows, least: int) -> float:
        rows_R = rows_R[self._label_N[rows_R] >= 0]
        labels_R, aucs = self._label_N[rows_R], []
        for k in self._columns[figure]:
            positive_R = labels_R == k
            count = int(np.count_nonzero(positive_R))
            if not least <= count <= len(rows_R) - least:
                return np.nan  # a mean of fewer labels would be another figure
            aucs.append(roc_auc(self._probabilities_NK[rows_R, k], positive_R))
        return fmean(aucs) if aucs else np.nan

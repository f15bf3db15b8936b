"""The answers of the last frames of one lesion, averaged, and the decision that follows them.

Each frame is another view of the lesion, and the mean over views is what papers call test-time
augmentation. Near a threshold the mean may still waver. So a suggested referral comes at once and
goes only when the mean has been without it for ten frames: the safe side is the quick one.

Suffix: D channels of the classifier's last layer.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.finding.answers import most_probable
from ckd.finding.decision import Decider, Decision
from ckd.finding.finding import Finding
from ckd.finding.pooled import Pooled

#: Frames that are averaged: two seconds of a camera with 30 a second.
_FRAMES: Final = 60
#: So many frames in a row must come to the same before an answer is settled, or a referral goes.
_STEADY: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """What a frame adds: probabilities, agreement of its masks, and the classifier's features."""

    said: Mapping[str, float]
    agreement: float | None
    features_D: NDArray[np.float32] | None


class Pool:
    """The answers of one lesion.

    Args:
        decider: of the cascade.
    """

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._frames: deque[_Frame] = deque(maxlen=_FRAMES)
        self._shown: Decision | None = None
        self._comes_to: tuple[object, ...] = ()
        self._num_same = self._num_without = 0

    def add(self, finding: Finding) -> tuple[dict[str, float], Decision | None, Pooled]:
        """Take in a frame; gives the mean, the decision by it, and what they rest on.

        The mean is of the fitted probabilities where the bundle has a rule for them, and of what
        the networks said where it has none.

        Raises:
            UsageError: the finding has other labels than those before.
        """
        said = finding.fitted or finding.probabilities
        if self._frames and said.keys() != self._frames[0].said.keys():
            raise UsageError(
                f"settle: a finding with the labels {', '.join(said)}, after others with "
                f"{', '.join(self._frames[0].said)}; each cascade needs a settler of its own"
            )
        agreement = finding.quality.get("mask_agreement")
        self._frames.append(_Frame(said, agreement, finding.raw.features_D))
        mean = {label: float(np.mean([one.said[label] for one in self._frames])) for label in said}
        fresh = self._decided(mean) if finding.fitted else None
        shown = self._steadied(fresh)
        self._count_same(most_probable(mean, finding.exclusive), fresh)
        pooled = Pooled(
            frames=len(self._frames),
            settled=self._num_same >= _STEADY and shown == fresh,
            spread=self._spread(mean),
        )
        return mean, shown, pooled

    def _decided(self, mean: Mapping[str, float]) -> Decision | None:
        agreements = [one.agreement for one in self._frames if one.agreement is not None]
        features = [one.features_D for one in self._frames if one.features_D is not None]
        return self._decider.decision(
            mean,
            {"mask_agreement": float(np.mean(agreements))} if agreements else {},
            np.mean(features, axis=0) if features else None,
        )

    def _steadied(self, fresh: Decision | None) -> Decision | None:
        """The decision that is shown: a referral goes later than it comes."""
        goes = self._shown is not None and self._shown.refer
        if fresh is None or fresh.refer or not goes:
            self._shown, self._num_without = fresh, 0
        else:
            self._num_without += 1
            if self._num_without >= _STEADY:
                self._shown = fresh
        return self._shown

    def _count_same(self, top: str | None, decision: Decision | None) -> None:
        comes_to = (top, decision and decision.flagged, decision and decision.refer)
        self._num_same = self._num_same + 1 if comes_to == self._comes_to else 1
        self._comes_to = comes_to

    def _spread(self, mean: Mapping[str, float]) -> float:
        if not mean:
            return 0.0
        points = self._decider.points
        label = max(mean, key=mean.__getitem__) if points is None else points.target
        return float(np.std([one.said[label] for one in self._frames]))

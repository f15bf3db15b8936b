"""Sets of labels that hold the true one at a stated rate (conformal prediction).

The section "sets" of a bundle holds, for each label, the probability that all but a stated share of
its photographs reach: for the label with n photographs held out, the k-th largest of their
probabilities of it, k = ceil((n + 1)(1 - error rate)). A photograph's set is all labels whose
probability reaches their threshold, so that each label, the rare one too, is in the sets of its own
photographs at 1 - error rate (Mondrian; the score is 1 - p, Sadinle et al. 2019). It may be empty:
then none of the trained classes fits. Only for labels that exclude each other.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckd.finding.content import Declaring, SectionContent
from ckd.finding.operating_points import check_mark
from ckd.finding.probabilities import ProbabilityRule

SECTION: Final = "sets"


@dataclass(frozen=True, slots=True)
class LabelSets:
    """The thresholds of a bundle's sets.

    Attributes:
        error_rate: share of a label's photographs whose sets may lack it.
        at_least: by label, the probability from which on it is in the set.
        counted: by label, photographs that its threshold was fitted on.
        mark: of the probabilities that they were fitted on.
    """

    error_rate: float
    at_least: Mapping[str, float]
    counted: Mapping[str, int]
    mark: str

    @classmethod
    def of(cls, spec: Declaring, rule: ProbabilityRule | None) -> "LabelSets | None":
        """The sets of a bundle; None if it has no such section.

        Raises:
            BundleError: the section is malformed, was fitted on other probabilities, or labels do
                not exclude each other.
        """
        content = SectionContent.of(
            spec, SECTION, ("error_rate", "at_least", "counted", "probabilities")
        )
        if content is None:
            return None
        if not spec.outputs.exclusive:
            raise content.wrong("labels that do not exclude each other have no sets")
        check_mark(content, rule)
        at_least, counted = content.part("at_least"), content.part("counted")
        at_least.expect(spec.labels)
        counted.expect(spec.labels)
        return cls(
            error_rate=content.number("error_rate", 1e-3, 0.999),
            at_least={name: at_least.number(name, 0, 1) for name in spec.labels},
            counted={name: counted.count(name) for name in spec.labels},
            mark=content.text("probabilities"),
        )

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        return {
            "error_rate": self.error_rate,
            "at_least": dict(self.at_least),
            "counted": dict(self.counted),
            "probabilities": self.mark,
        }

    @property
    def may_be_empty(self) -> bool:
        """Whether probabilities, which add up to 1, can all lie below their thresholds."""
        return sum(self.at_least.values()) > 1

    def set_of(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """The labels that a photograph may have, in the order of the labels."""
        return tuple(name for name, value in probabilities.items() if value >= self.at_least[name])


def conformal_rank(count: int, error_rate: float) -> int:
    """The rank k of the threshold among a label's photographs, the most probable first.

    More than ``count`` means that no threshold is low enough: the label is in every set.
    """
    # Rounded first, as 0.9 * 10 is a little over 9 in binary.
    return math.ceil(round((count + 1) * (1 - error_rate), 9))

"""From class logits to probabilities that mean what they say, as a bundle declares.

A network's softmax says more than it knows. The section "probabilities" of a bundle holds a
temperature for each precision and a bias for each label, fitted by likelihood on photographs that
the networks were not trained on (Guo et al. 2017, "On Calibration of Modern Neural Networks", have
the temperature alone; with a bias it is their vector scaling with one scale for all labels), and
how frequent each label was there. The bias is zero where it does not pay. What
follows from probabilities, such as operating points and label sets, is fitted on these.

A probability holds at the frequency of labels that it was fitted at. Where another is known, odds
are weighed anew for what people see; decisions rest on the fitted ones.

Suffix: K labels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.finding.content import Declaring, SectionContent
from ckd.finding.logits import class_probabilities

SECTION: Final = "probabilities"
#: Kinds of precision that may have a temperature of their own; others take that of fp32.
PRECISIONS: Final = ("fp32", "fp16", "int8")
_HOTTEST: Final = 100.0
#: A prevalence nearer to 0 or 1 would be certainty, and no evidence could change it.
_LEAST_SHARE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class ProbabilityRule:
    """What is done to class logits.

    Attributes:
        labels: in the order of the logits.
        is_exclusive: an image is of exactly one label.
        temperatures: by kind of precision; logits are divided by it.
        bias_K: then added to them, for each label.
        prevalence_K: share of each label among the photographs that this was fitted on.
    """

    labels: tuple[str, ...]
    is_exclusive: bool
    temperatures: Mapping[str, float]
    bias_K: tuple[float, ...]
    prevalence_K: tuple[float, ...]

    @classmethod
    def of(cls, spec: Declaring) -> "ProbabilityRule | None":
        """The rule of a bundle; None if it has no such section.

        Raises:
            BundleError: the section is malformed, or is about other labels.
        """
        content = SectionContent.of(spec, SECTION, ("temperature", "bias", "prevalence"))
        if content is None:
            return None
        if spec.outputs.class_logits is None:
            raise content.wrong("the cascade has no class logits")
        temperatures, bias, prevalence = map(content.part, ("temperature", "bias", "prevalence"))
        temperatures.expect(PRECISIONS)
        bias.expect(spec.labels)
        prevalence.expect(spec.labels)
        shares = [prevalence.number(n, _LEAST_SHARE, 1 - _LEAST_SHARE) for n in spec.labels]
        if spec.outputs.exclusive and abs(sum(shares) - 1) > 1e-3:
            raise content.wrong(f"prevalence sums to {sum(shares):g}, expected 1")
        return cls(
            labels=spec.labels,
            is_exclusive=spec.outputs.exclusive,
            temperatures={p: temperatures.number(p, 1 / _HOTTEST, _HOTTEST) for p in PRECISIONS},
            bias_K=tuple(bias.number(name, -_HOTTEST, _HOTTEST) for name in spec.labels),
            prevalence_K=tuple(shares),
        )

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        return {
            "temperature": dict(self.temperatures),
            "bias": dict(zip(self.labels, self.bias_K, strict=True)),
            "prevalence": self.prevalence,
        }

    @property
    def prevalence(self) -> dict[str, float]:
        """By label, the share that it was fitted at."""
        return dict(zip(self.labels, self.prevalence_K, strict=True))

    @property
    def mark(self) -> str:
        """Digits that tell rules apart by their probabilities in float32, at which thresholds are
        fitted; what was fitted on probabilities names theirs."""
        said = [self.temperatures["fp32"], *self.bias_K]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]

    def probabilities(self, logits_K: NDArray[Any], precision: str = "fp32") -> NDArray[np.float32]:
        """Probabilities at the prevalence that the rule was fitted at.

        Args:
            logits_K: class logits; more axes may come before.
            precision: that the networks computed in.
        """
        kind = "int8" if precision.startswith("int8") else precision
        temperature = self.temperatures.get(kind, self.temperatures["fp32"])
        scaled_K = np.asarray(logits_K, np.float32) / np.float32(temperature)
        return class_probabilities(
            scaled_K + np.asarray(self.bias_K, np.float32), self.is_exclusive
        )

    def at_prevalence(
        self, probabilities: Mapping[str, float], prevalence: Mapping[str, float]
    ) -> dict[str, float]:
        """The probabilities where labels are as frequent as ``prevalence`` says.

        The odds of a label are multiplied by the ratio of its new and its fitted prior odds; where
        labels exclude each other, those that are not named keep their proportions.

        Args:
            probabilities: by label, at the fitted prevalence.
            prevalence: new share of each label that is named, as `checked_prevalence` gives it.
        """
        fitted = self.prevalence
        if not self.is_exclusive:
            return {
                name: _odds_moved(value, fitted[name], prevalence.get(name, fitted[name]))
                for name, value in probabilities.items()
            }
        rest = (1 - sum(prevalence.values())) / (1 - sum(fitted[name] for name in prevalence) or 1)
        weighed = {
            name: value * (prevalence[name] / fitted[name] if name in prevalence else rest)
            for name, value in probabilities.items()
        }
        total = sum(weighed.values())
        return {name: value / total for name, value in weighed.items()}

    def checked_prevalence(self, prevalence: Mapping[str, float]) -> dict[str, float]:
        """Shares that a user gave for some labels, usable by `at_prevalence`.

        Raises:
            UsageError: a label is unknown, or shares do not leave each label some.
        """
        for name, share in prevalence.items():
            if name not in self.labels:
                known = ", ".join(self.labels)
                raise UsageError(f"prevalence of {name!r}: the labels of this bundle are {known}")
            if not _LEAST_SHARE <= share <= 1 - _LEAST_SHARE:
                raise UsageError(
                    f"prevalence of {name} is {share:g}, expected a share between 0 and 1"
                )
        if self.is_exclusive:
            total, named_all = sum(prevalence.values()), len(prevalence) == len(self.labels)
            if named_all and abs(total - 1) > 1e-6:
                raise UsageError(f"prevalences of all labels sum to {total:g}, expected 1")
            if not named_all and total > 1 - _LEAST_SHARE:
                raise UsageError(f"prevalences sum to {total:g}, which leaves other labels none")
        return dict(prevalence)


def _odds_moved(probability: float, fitted: float, now: float) -> float:
    factor = (now / (1 - now)) / (fitted / (1 - fitted))
    return probability * factor / (probability * factor + 1 - probability)

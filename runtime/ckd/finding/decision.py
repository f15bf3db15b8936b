"""What to do about a photograph: flagged or not, which labels are possible, whether to refer.

The device suggests a referral; it does not diagnose. Thresholds are fitted on photographs that the
networks were not trained on, and stand in sections of the bundle: probabilities, operating points,
label sets, doubts. A device applies them in this one place; `ckd.train.sections` counts what they
come to on many photographs at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import BundleError, UsageError
from ckd.contract.labels import lesion_name
from ckd.finding.content import Declaring
from ckd.finding.doubts import Doubts
from ckd.finding.label_sets import LabelSets
from ckd.finding.operating_points import NAMES, OperatingPoints
from ckd.finding.probabilities import ProbabilityRule
from ckd.finding.sentences import lesion_shown, percent_shown, sentence, shown

#: Reasons to refer, in the order in which they are given.
CODES: Final = ("flagged", "set_holds_target", "set_empty", "masks_disagree", "unlike_training")


@dataclass(frozen=True, slots=True)
class Decision:
    """What the bundle's operating point, its label sets and its doubts make of an answer.

    Attributes:
        operating_point: name of the threshold that was used.
        target: the label that is looked for.
        flagged: the target's probability reaches the threshold.
        label_set: labels that the photograph may have; None if the bundle has no sets.
        error_rate: share of photographs whose set may lack the true label; None likewise.
        reasons: codes of why to refer, from `CODES`; none if there is no reason.
        instead_of: the bundle's default operating point, where another one was asked for.
    """

    operating_point: str
    target: str
    flagged: bool
    label_set: tuple[str, ...] | None
    error_rate: float | None
    reasons: tuple[str, ...]
    instead_of: str | None = None

    @property
    def refer(self) -> bool:
        """Whether a referral is suggested: whenever flagged, or in any doubt."""
        return bool(self.reasons)

    @property
    def headline(self) -> str:
        """What people read first."""
        return shown("refer" if self.refer else "no_refer")

    @property
    def reasons_shown(self) -> tuple[str, ...]:
        """The reasons as sentences in the language of who looks at them."""
        return tuple(shown(code, label=lesion_shown(self.target)) for code in self.reasons)

    @property
    def set_shown(self) -> str:
        """The label set as one sentence; empty if the bundle has no sets."""
        if self.label_set is None or self.error_rate is None:
            return ""
        if not self.label_set:
            return shown("set_empty")
        labels = ", ".join(map(lesion_shown, self.label_set))
        return shown("label_set", labels=labels, share=percent_shown(1 - self.error_rate))

    @property
    def beneath(self) -> tuple[str, ...]:
        """The sentences that stand below the decision: reasons, label set, what was chosen."""
        lines = list(self.reasons_shown)
        if self.label_set:  # that it is empty is among the reasons
            lines.append(self.set_shown)
        if self.instead_of is not None:
            lines.append(shown("other_point", point=self.operating_point, default=self.instead_of))
        return tuple(lines)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; see `docs/finding.schema.json`."""
        return {
            "operating_point": self.operating_point,
            "target": self.target,
            "flagged": self.flagged,
            "label_set": None if self.label_set is None else list(self.label_set),
            "error_rate": self.error_rate,
            "refer": self.refer,
            "reasons": [
                {"code": code, "text": sentence(code, label=lesion_name(self.target))}
                for code in self.reasons
            ],
        }


class Decider:
    """Decides by the sections of a bundle.

    Args:
        spec: of the bundle.
        read: gives the content of a file of the bundle.
        operating_point: name of the one to use instead of the bundle's default.
        prevalence: share of some labels where the device is used, for what people see.

    Raises:
        BundleError: a section is malformed, or does not fit another one.
        UsageError: the bundle has no such operating point, or a prevalence cannot be used.
    """

    def __init__(
        self,
        spec: Declaring,
        read: Callable[[str], bytes],
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
    ) -> None:
        self.rule = ProbabilityRule.of(spec)
        self.points = OperatingPoints.of(spec, self.rule)
        self.sets = LabelSets.of(spec, self.rule)
        self.doubts = Doubts.of(spec, read)
        self.point = None if self.points is None else self.points.chosen(operating_point)
        self._instead_of: str | None = None
        if self.points is not None and self.point != self.points.chosen(None):
            self._instead_of = self.points.default
        self._class_logits, self._shown_at = spec.outputs.class_logits, {}
        if self.rule is not None:
            self._shown_at = self.rule.checked_prevalence(prevalence or {})
        missing = None
        if self.points is None and operating_point is not None:
            if operating_point not in NAMES:
                raise UsageError(
                    f"operating point {operating_point!r}: expected one of {', '.join(NAMES)}"
                )
            missing = "points"
        if prevalence and self.rule is None:
            missing = "probabilities"
        if missing is not None:
            raise BundleError(
                f"{spec.name} has no section {missing}, which this needs; `ckd-train sections` "
                "fits it and `ckd-export sections` writes it"
            )

    @property
    def codes(self) -> tuple[str, ...]:
        """The reasons to refer that this bundle can give; none without operating points."""
        if self.points is None:
            return ()
        judged = {
            "flagged": True,
            "set_holds_target": self.sets is not None,
            "set_empty": self.sets is not None and self.sets.may_be_empty,
            "masks_disagree": self.doubts.masks_agree is not None,
            "unlike_training": self.doubts.unlike_above is not None,
        }
        return tuple(code for code in CODES if judged[code])

    def probabilities(
        self, logits: Mapping[str, NDArray[Any]], precision: str
    ) -> dict[str, float] | None:
        """By label at the fitted prevalence; None if the bundle has no rule for them."""
        if self.rule is None or self._class_logits is None:
            return None
        values = self.rule.probabilities(logits[self._class_logits][0], precision)
        return dict(zip(self.rule.labels, values.tolist(), strict=True))

    def shown(self, probabilities: Mapping[str, float]) -> dict[str, float]:
        """The probabilities that people see, at the prevalence that they asked for."""
        if self.rule is None or not self._shown_at:
            return dict(probabilities)
        return self.rule.at_prevalence(probabilities, self._shown_at)

    @property
    def prevalence(self) -> dict[str, float] | None:
        """By label, what the shown probabilities rest on; None if the bundle does not say."""
        if self.rule is None:
            return None
        fitted = self.rule.prevalence
        return self.rule.at_prevalence(fitted, self._shown_at) if self._shown_at else fitted

    @property
    def is_prevalence_chosen(self) -> bool:
        """Whether the shown probabilities rest on another prevalence than the fitted one."""
        if self.rule is None:
            return False
        fitted = self.rule.prevalence
        return any(abs(share - fitted[name]) > 1e-9 for name, share in self._shown_at.items())

    @property
    def chosen_shown(self) -> tuple[str, ...]:
        """What was asked for in place of the bundle's defaults, a sentence each."""
        lines = []
        if self.point is not None and self._instead_of is not None:
            lines.append(shown("other_point", point=self.point.name, default=self._instead_of))
        if self.is_prevalence_chosen and self.prevalence is not None:
            shares = ", ".join(
                f"{lesion_shown(name)} {percent_shown(share)}"
                for name, share in self.prevalence.items()
            )
            lines.append(shown("chosen_shares", shares=shares))
        return tuple(lines)

    def decision(
        self,
        probabilities: Mapping[str, float],
        quality: Mapping[str, float],
        features_D: NDArray[np.float32] | None,
    ) -> Decision | None:
        """The decision about a photograph; None if the bundle has no operating points.

        Args:
            probabilities: by label, at the fitted prevalence.
            quality: of the finding.
            features_D: of the classifier, or None.
        """
        if self.points is None or self.point is None:
            return None
        target = self.points.target
        flagged = probabilities[target] >= self.point.at_least
        label_set = None if self.sets is None else self.sets.set_of(probabilities)
        found = set(self.doubts.found(quality, features_D))
        if flagged:
            found.add("flagged")
        if label_set is not None and target in label_set:
            found.add("set_holds_target")
        if label_set == ():
            found.add("set_empty")
        return Decision(
            operating_point=self.point.name,
            target=target,
            flagged=flagged,
            label_set=label_set,
            error_rate=None if self.sets is None else self.sets.error_rate,
            reasons=tuple(code for code in CODES if code in found),
            instead_of=self._instead_of,
        )

"""Where a probability of the target label becomes a call to act: a bundle's operating points.

The section "points" of a bundle holds three thresholds on the probability of one label, the target,
with what each found and spared among photographs that the networks were not trained on:

``screening``  finds nine of ten
``balanced``   the largest sum of sensitivity and specificity (Youden 1950)
``specific``   spares 95 of 100 others
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ckd.contract.errors import UsageError
from ckd.finding.content import Declaring, SectionContent
from ckd.finding.probabilities import ProbabilityRule

SECTION: Final = "points"
NAMES: Final = ("screening", "balanced", "specific")


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it did on photographs held out.

    Attributes:
        name: "screening", "balanced" or "specific".
        at_least: probability of the target from which on a photograph is flagged.
        found: photographs of the target that are flagged.
        targets: photographs of the target.
        spared: photographs of other labels that are not flagged.
        others: photographs of other labels.
    """

    name: str
    at_least: float
    found: int
    targets: int
    spared: int
    others: int

    @property
    def sensitivity(self) -> float:
        """Share of the targets that are flagged."""
        return self.found / self.targets

    @property
    def specificity(self) -> float:
        """Share of the others that are not."""
        return self.spared / self.others


@dataclass(frozen=True, slots=True)
class OperatingPoints:
    """The points of a bundle.

    Attributes:
        target: the label that is looked for.
        default: name of the point that is used unless another is asked for.
        points: by name.
        mark: of the probabilities that they were fitted on.
    """

    target: str
    default: str
    points: Mapping[str, OperatingPoint]
    mark: str

    @classmethod
    def of(cls, spec: Declaring, rule: ProbabilityRule | None) -> "OperatingPoints | None":
        """The points of a bundle; None if it has no such section.

        Raises:
            BundleError: the section is malformed, or was fitted on other probabilities.
        """
        content = SectionContent.of(spec, SECTION, ("target", "default", "points", "probabilities"))
        if content is None:
            return None
        check_mark(content, rule)
        named = content.part("points")
        named.expect(NAMES)
        points = {}
        for name in NAMES:
            part = named.part(name)
            part.expect(("at_least", "found", "targets", "spared", "others"))
            counts = map(part.count, ("found", "targets", "spared", "others"))
            point = OperatingPoint(name, part.number("at_least", 0, 1), *counts)
            if not (point.found <= point.targets and point.spared <= point.others):
                raise content.wrong(f"the counts of {name} do not fit together")
            if not (point.targets and point.others):
                raise content.wrong(f"{name} was fitted on no target, or on nothing else")
            points[name] = point
        return cls(
            target=content.text("target", spec.labels),
            default=content.text("default", NAMES),
            points=points,
            mark=content.text("probabilities"),
        )

    def as_content(self) -> dict[str, Any]:
        """The section's content that `of` reads."""
        counts = ("at_least", "found", "targets", "spared", "others")
        return {
            "target": self.target,
            "default": self.default,
            "points": {
                name: {count: getattr(point, count) for count in counts}
                for name, point in self.points.items()
            },
            "probabilities": self.mark,
        }

    def chosen(self, name: str | None) -> OperatingPoint:
        """The point of that name, or the default one.

        Raises:
            UsageError: there is no such point.
        """
        name = self.default if name is None else name
        if name not in self.points:
            raise UsageError(f"operating point {name!r}: this bundle has {', '.join(self.points)}")
        return self.points[name]


def check_mark(content: SectionContent, rule: ProbabilityRule | None) -> None:
    """Raise `BundleError` if a section was fitted on other probabilities than the bundle's."""
    said = content.text("probabilities")
    if rule is None or said != rule.mark:
        held = "none" if rule is None else rule.mark
        raise content.wrong(
            f"it was fitted on probabilities {said}, and the bundle's are {held}; fit both together"
        )


def predictive_values(
    sensitivity: float, specificity: float, prevalence: float
) -> tuple[float | None, float | None]:
    """PPV and NPV where the target is as frequent as ``prevalence``; None where nothing is called.

    PPV = Se p / (Se p + (1 - Sp)(1 - p)), NPV = Sp (1 - p) / (Sp (1 - p) + (1 - Se) p).
    """
    flagged = sensitivity * prevalence + (1 - specificity) * (1 - prevalence)
    spared = specificity * (1 - prevalence) + (1 - sensitivity) * prevalence
    return (
        sensitivity * prevalence / flagged if flagged else None,
        specificity * (1 - prevalence) / spared if spared else None,
    )

"""What a bundle promises: figures of its operating points, label sets and doubts.

All were counted on the photographs that the points were fitted on; the networks were not trained on
them. Sensitivity and specificity come with their exact intervals (`ckd.contract.binomial`); what a
flag or its absence is worth (PPV and NPV) depends on how frequent the target is, so that stands
beside them.
"""

from dataclasses import dataclass
from typing import Any

from ckd.contract.binomial import exact_interval
from ckd.finding.decision import Decider
from ckd.finding.operating_points import OperatingPoint, predictive_values


@dataclass(frozen=True, slots=True)
class PointPromise:
    """An operating point and what it is worth.

    Attributes:
        point: with its counts.
        sensitivity_95: exact interval.
        specificity_95: exact interval.
        ppv: share of flagged photographs that show the target; None where none is flagged.
        npv: share of others that do not; None where all are flagged.
        ppv_ends: what it is at the ends of both intervals, as it grows with either rate. That both
            rates lie in their intervals is 90 % sure at least.
        npv_ends: likewise.
    """

    point: OperatingPoint
    sensitivity_95: tuple[float, float]
    specificity_95: tuple[float, float]
    ppv: float | None
    npv: float | None
    ppv_ends: tuple[float | None, float | None]
    npv_ends: tuple[float | None, float | None]

    @classmethod
    def of(cls, point: OperatingPoint, prevalence: float) -> "PointPromise":
        """The promise where the target is as frequent as ``prevalence`` says."""
        sensitivity_95 = exact_interval(point.found, point.targets)
        specificity_95 = exact_interval(point.spared, point.others)
        ppv, npv = predictive_values(point.sensitivity, point.specificity, prevalence)
        low, high = (
            predictive_values(*rates, prevalence)
            for rates in zip(sensitivity_95, specificity_95, strict=True)
        )
        return cls(
            point, sensitivity_95, specificity_95, ppv, npv, (low[0], high[0]), (low[1], high[1])
        )

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        point = self.point
        return {
            "at_least": point.at_least,
            "sensitivity": _counted(point.found, point.targets, self.sensitivity_95),
            "specificity": _counted(point.spared, point.others, self.specificity_95),
            "ppv": _rounded(self.ppv),
            "npv": _rounded(self.npv),
            "ppv_interval": [_rounded(end) for end in self.ppv_ends],
            "npv_interval": [_rounded(end) for end in self.npv_ends],
        }

    def as_row(self) -> tuple[str, ...]:
        """Cells of a table, one for each of `Promises.table`'s titles."""
        point = self.point
        return (
            point.name,
            f"{100 * point.at_least:.3g} %",
            _shown(point.found, point.targets, self.sensitivity_95),
            _shown(point.spared, point.others, self.specificity_95),
            _ranged(self.ppv, self.ppv_ends, 1),
            _ranged(self.npv, self.npv_ends, 2),
        )


@dataclass(frozen=True, slots=True)
class Promises:
    """What a bundle promises.

    Attributes:
        target: the label that is looked for.
        prevalence: share of it that PPV and NPV are for.
        default: name of the point that decides unless another is asked for.
        points: in the order of `ckd.finding.operating_points.NAMES`.
        error_rate: share of a label's photographs whose set may lack it; None without sets.
        counted: by label, photographs that its threshold in sets was fitted on; empty likewise.
        may_be_empty: a set may hold no label; False likewise.
        doubts: by code, the threshold of each doubt that is judged.
    """

    target: str
    prevalence: float
    default: str
    points: tuple[PointPromise, ...]
    error_rate: float | None
    counted: dict[str, int]
    may_be_empty: bool
    doubts: dict[str, float]

    @classmethod
    def of(cls, decider: Decider) -> "Promises | None":
        """The promises of a bundle at the prevalence of its decider; None if it decides nothing."""
        points, sets, doubts = decider.points, decider.sets, decider.doubts
        prevalence = decider.prevalence
        if points is None or prevalence is None:
            return None
        share = prevalence[points.target]
        judged = {"masks_disagree": doubts.masks_agree, "unlike_training": doubts.unlike_above}
        return cls(
            target=points.target,
            prevalence=share,
            default=points.default,
            points=tuple(PointPromise.of(point, share) for point in points.points.values()),
            error_rate=None if sets is None else sets.error_rate,
            counted={} if sets is None else dict(sets.counted),
            may_be_empty=sets is not None and sets.may_be_empty,
            doubts={code: value for code, value in judged.items() if value is not None},
        )

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; shares to four decimals."""
        sets = {
            "error_rate": self.error_rate,
            "counted": self.counted,
            "may_be_empty": self.may_be_empty,
        }
        return {
            "target": self.target,
            "prevalence": round(self.prevalence, 6),
            "default": self.default,
            "points": {promise.point.name: promise.as_dict() for promise in self.points},
            "sets": None if self.error_rate is None else sets,
            "doubts": self.doubts,
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Titles of the columns, and a row for each operating point, for people."""
        titles = (
            "operating point", "flags from", "sensitivity, 95 % interval",
            "specificity, 95 % interval", "PPV", "NPV",
        )  # fmt: skip
        return titles, [promise.as_row() for promise in self.points]

    @property
    def sets_said(self) -> str:
        """The label sets in one line."""
        if self.error_rate is None:
            return "none"
        counted = ", ".join(f"{count} {label}" for label, count in self.counted.items())
        return (
            f"hold the true label for {100 * (1 - self.error_rate):.3g} % of each label's "
            f"photographs; fitted on {counted}{'' if self.may_be_empty else '; never empty'}"
        )

    @property
    def doubts_said(self) -> str:
        """The doubts in one line."""
        said = {
            "masks_disagree": "masks_disagree (outlines overlap less than {:.3g})",
            "unlike_training": "unlike_training (distance above {:.3g})",
        }
        judged = [said[code].format(value) for code, value in self.doubts.items()]
        return ", ".join(judged) or "none are judged"


def _counted(count: int, total: int, interval: tuple[float, float]) -> dict[str, Any]:
    return {
        "count": count,
        "of": total,
        "share": round(count / total, 4),
        "interval_95": [round(end, 4) for end in interval],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _ranged(value: float | None, ends: tuple[float | None, float | None], digits: int) -> str:
    """A predictive value in percent, with those at the ends of both intervals."""
    if value is None:
        return ""
    low, high = ("?" if end is None else f"{100 * end:.{digits}f}" for end in ends)
    return f"{100 * value:.{digits}f} % ({low} to {high})"


def _shown(count: int, total: int, interval: tuple[float, float]) -> str:
    low, high = (f"{100 * end:.1f}" for end in interval)
    return f"{100 * count / total:.1f} % ({count} of {total}), {low} to {high} %"

"""What was fitted to decide by, as Markdown for a model card.

Suffixes: N photographs, K labels.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.stats import beta, betabinom

from ckd.contract.binomial import exact_interval
from ckd.contract.labels import lesion_name
from ckd.finding.label_sets import conformal_rank
from ckd.finding.operating_points import OperatingPoint
from ckd.finding.promises import PointPromise
from ckd.scores.ranking import roc_auc
from ckd.scores.reliability_text import (
    CALIBRATION_WORDS,
    Calibrated,
    Said,
    calibration_table,
    mended_text,
)
from ckd.train.sections.decision import Decided
from ckd.train.sections.held import known
from ckd.train.sections.probabilities import LEAST_GAIN, Compared
from ckd.train.sections.refer import DOUBTED

#: Where a device may be used: people who are screened, those who are sent for a lesion, a practice
#: that is sent what looks suspicious.
STATED_PREVALENCES = (0.002, 0.02, 0.1)
#: More photographs referred than this is said before anything else.
MANY_REFERRED = 0.60


def probabilities_text(decided: Decided) -> str:
    """How the kinds of rules compare, and how well calibrated probabilities are."""
    held = decided.held
    bias = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(held.labels, decided.rule.bias_K, strict=True)
    )
    taken = f"temperature {decided.rule.temperatures['fp32']:.3f}"
    taken += f", biases {bias}" if any(decided.rule.bias_K) else ", no bias"
    calibrated = {row.name: Calibrated.of(_said(decided, row)) for row in decided.compared}
    lines = [
        f"Taken: {taken}. A bias is taken where it gains {LEAST_GAIN} nats or more. Each "
        f"photograph is judged by rules that were fitted on other ones. {CALIBRATION_WORDS}",
        "",
        *calibration_table(
            {
                f"{name} (taken)" if name == decided.taken.name else name: one
                for name, one in calibrated.items()
            }
        ),
        "",
        *mended_text(calibrated[decided.compared[0].name], calibrated[decided.taken.name]),
    ]
    return "\n".join(lines)


def points_text(decided: Decided) -> str:
    """What each operating point finds and spares."""
    target = lesion_name(decided.points.target)
    own = decided.held.truth_NK[:, decided.held.labels.index(decided.points.target)].mean()
    prevalences = (*STATED_PREVALENCES, float(own))
    shares = ", ".join(f"{share:.1%}" for share in prevalences)
    lines = [
        f"For {target}, with exact 95 % intervals (Clopper and Pearson). PPV and NPV are those at "
        f"a prevalence of {shares}, by the sensitivity and specificity of thresholds that were "
        "fitted on other photographs; in brackets, by both ends of their intervals."
        f"{_singly(decided)}",
        "",
        "| point | threshold | | sensitivity | specificity | PPV | NPV |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, point in decided.points.points.items():
        lines.append(f"| {name} | {point.at_least:.4f} | as fitted | {_rates(point)} | | |")
        apart = decided.points_apart[name]
        worth = [PointPromise.of(apart, prevalence) for prevalence in prevalences]
        ppv = ", ".join(_ranged(one.ppv, one.ppv_ends) for one in worth)
        npv = ", ".join(_ranged(one.npv, one.npv_ends) for one in worth)
        lines.append(f"| | | on others | {_rates(apart)} | {ppv} | {npv} |")
    return "\n".join(lines)


def sets_text(decided: Decided) -> str:
    """How often sets hold the true label."""
    sets = decided.sets
    assert sets is not None
    lines = [
        f"Sets are to hold the true label of {1 - sets.error_rate:.0%} of each label's "
        "photographs. The range is that of the Beta law for so many photographs (5 % to 95 %)"
        f"{_approximate(decided)}. Counted by thresholds that were fitted on other photographs.",
        "",
        "| label | photographs | threshold | range | held | mean size |",
        "|---|---|---|---|---|---|",
    ]
    for row in decided.sets_apart:
        count = sets.counted[row.label]
        rank = conformal_rank(count, sets.error_rate)
        low, high = beta_range(count, sets.error_rate)
        held = f"{row.held / row.total:.1%} ({row.held} of {row.total})"
        threshold = f"{sets.at_least[row.label]:.4f}" if rank <= count else "none: always in"
        lines.append(
            f"| {row.label} | {count} | {threshold} | {low:.1%} to {high:.1%} | {held} | "
            f"{row.mean_size:.2f} |"
        )
    if not sets.may_be_empty:
        total = sum(sets.at_least.values())
        lines += [
            "",
            f"No set is ever empty: the thresholds add up to {total:.3f}, and probabilities to 1.",
        ]
    return "\n".join(lines)


def _ranged(value: float | None, ends: tuple[float | None, float | None]) -> str:
    """A predictive value with those at the ends of the intervals of both rates."""
    if value is None:
        return "-"
    low, high = ("?" if end is None else f"{end:.2%}" for end in ends)
    return f"{value:.2%} ({low} to {high})"


def _singly(decided: Decided) -> str:
    """Why intervals of counts are too narrow, if so."""
    num_lesions, count = decided.held.num_lesions, len(decided.held)
    if num_lesions == count:
        return ""
    return f" The {count} photographs of {num_lesions} lesions are counted as if of {count}."


def _approximate(decided: Decided) -> str:
    """Why the law does not hold exactly, if so."""
    num_lesions, count = decided.held.num_lesions, len(decided.held)
    why = []
    if decided.num_folds > 1:
        why.append("the photographs come from several folds' networks")
    if num_lesions < count:
        why.append(f"they are of {num_lesions} lesions and are counted as if of {count}")
    return f"; it is approximate, as {', and '.join(why)}" if why else ""


def beta_range(count: int, error_rate: float) -> tuple[float, float]:
    """The 5 % to 95 % range of what sets hold that were fitted on ``count`` photographs."""
    rank = conformal_rank(count, error_rate)
    if rank > count:
        return 1.0, 1.0
    low, high = beta(rank, count + 1 - rank).ppf([0.05, 0.95])
    return float(low), float(high)


def held_range(count: int, total: int, error_rate: float) -> tuple[int, int]:
    """The 5 % to 95 % range of how many of ``total`` further photographs the sets hold.

    The Beta law of the thresholds and the chance of few photographs together (beta-binomial).
    """
    rank = conformal_rank(count, error_rate)
    if rank > count:
        return total, total
    law = betabinom(total, rank, count + 1 - rank)
    return int(law.ppf(0.05)), int(law.ppf(0.95))


def refer_text(decided: Decided) -> str:
    """How many are referred and why, what is missed, and what unlike pictures get."""
    held, codes, points = decided.held, decided.codes_apart, decided.points
    target_N = held.truth_NK[:, held.labels.index(points.target)]
    referred_N = np.any([*codes.values()], axis=0)
    missed, kept = int((target_N & ~referred_N).sum()), int((~referred_N).sum())
    share = (
        f"{referred_N.mean():.1%} of {len(held)} photographs are referred under {points.default}"
    )
    lines = []
    if referred_N.mean() > MANY_REFERRED:
        lines += [f"**Many are referred: {share}.**", ""]
    name = lesion_name(points.target)
    lines += [
        f"{share}. Of {int(target_N.sum())} photographs of {name}, {missed} are among the {kept} "
        f"that are not. Everything was fitted on other photographs.{_singly(decided)}",
        "",
        f"| reason | all | {points.target} | others | no other reason |",
        "|---|---|---|---|---|",
    ]
    for code, given_N in codes.items():
        rest_N = np.any([v for c, v in codes.items() if c != code], axis=0)
        alone = int((given_N & ~rest_N).sum())
        lines.append(
            f"| {code} | {given_N.mean():.1%} | {given_N[target_N].mean():.1%} | "
            f"{given_N[~target_N].mean():.1%} | {alone} |"
        )
    if "flagged" in codes and len(codes) > 1:
        rest_N = np.any([v for c, v in codes.items() if c != "flagged"], axis=0)
        lines += [
            "",
            f"Reasons other than `flagged` hold at each operating point: {rest_N.mean():.1%}.",
        ]
    lines += ["", *_doubts(decided)]
    return "\n".join(lines)


def _doubts(decided: Decided) -> list[str]:
    doubts, lines = decided.doubts, []
    if doubts.masks_agree is not None:
        lines.append(
            f"`masks_disagree` is given below a Jaccard index of {doubts.masks_agree:.3f} of both "
            f"masks, where {DOUBTED:.0%} of the photographs lie."
        )
    if doubts.unlike_above is None:
        why = "give no features" if decided.was_shipped else "were not given"
        return [*lines, f"`unlike_training` is not judged: the shipped networks {why}."]
    assert doubts.space is not None
    near = known(decided.held.distance_N)
    lines += [
        f"`unlike_training` is given above a distance of {doubts.unlike_above:.2f} in "
        f"{len(doubts.space)} components, where {DOUBTED:.0%} of the photographs lie. "
        "Each picture below is counted once for each fold's networks, so that intervals are too "
        "narrow.",
        "",
        "| pictures | number | above the threshold | AUC against photographs |",
        "|---|---|---|---|",
    ]
    for kind, values in decided.unlike.items():
        above = int(np.count_nonzero(np.array(values) > doubts.unlike_above))
        low, high = exact_interval(above, len(values))
        auc = roc_auc(
            np.concatenate([values, near]), np.arange(len(values) + len(near)) < len(values)
        )
        lines.append(
            f"| {kind} | {len(values)} | {above / len(values):.1%} ({low:.1%} to {high:.1%}) | "
            f"{auc:.3f} |"
        )
    return lines


def _rates(point: OperatingPoint) -> str:
    cells = []
    for count, total in ((point.found, point.targets), (point.spared, point.others)):
        low, high = exact_interval(count, total)
        cells.append(f"{count / total:.3f} ({low:.3f} to {high:.3f})")
    return " | ".join(cells)


def _said(decided: Decided, row: Compared) -> Said:
    held = decided.held
    return Said(
        truth_NK=held.truth_NK,
        probabilities_NK=row.probabilities_NK,
        source_N=held.source_N,
        labels=held.labels,
        target=decided.points.target,
        is_exclusive=held.is_exclusive,
    )


TEXTS: Mapping[str, Callable[[Decided], str]] = {
    "probabilities": probabilities_text,
    "points": points_text,
    "sets": sets_text,
    "refer": refer_text,
}

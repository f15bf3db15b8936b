"""What was fitted to decide by, as Markdown for a model card.

Suffixes: N photographs, K labels.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, betabinom

from ckd.contract.binomial import exact_interval
from ckd.contract.labels import lesion_name
from ckd.finding.label_sets import conformal_rank
from ckd.finding.operating_points import OperatingPoint, predictive_values
from ckd.scores.metrics import bootstrap_interval
from ckd.scores.ranking import roc_auc
from ckd.scores.reliability import (
    Probabilities,
    brier_score,
    calibration_error,
    expected_calibration_error,
    log_loss,
    top_label,
)
from ckd.train.sections.decision import Decided
from ckd.train.sections.held import Held, known
from ckd.train.sections.probabilities import LEAST_GAIN, Compared
from ckd.train.sections.refer import DOUBTED

#: Where a device may be used: people who are screened, those who are sent for a lesion, a practice
#: that is sent what looks suspicious.
STATED_PREVALENCES = (0.002, 0.02, 0.1)
#: Probabilities that are further off than this are to be mended by half.
LARGE_ERROR = 0.04
#: More photographs referred than this is said before anything else.
MANY_REFERRED = 0.60


def probabilities_text(decided: Decided) -> str:
    """How the kinds of rules compare, and how well calibrated probabilities are."""
    held, target = decided.held, decided.points.target
    bias = ", ".join(
        f"{name} {value:+.2f}" for name, value in zip(held.labels, decided.rule.bias_K, strict=True)
    )
    taken = f"temperature {decided.rule.temperatures['fp32']:.3f}"
    taken += f", biases {bias}" if any(decided.rule.bias_K) else ", no bias"
    lines = [
        f"Taken: {taken}. A bias is taken where it gains {LEAST_GAIN} nats or more. Each "
        "photograph is judged by rules that were fitted on other ones; intervals are 95 % of the "
        "bootstrap. The expected calibration error (ECE) has 15 bins of equal mass and is never "
        f"0; behind it stands what perfect probabilities of {len(held)} photographs would show. "
        "The debiased error is the root mean square over the same bins, less what chance adds.",
        "",
        f"| rule | log-loss | Brier | ECE, most probable label | debiased | ECE, {target} | "
        "debiased |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_compared_row(decided, row) for row in decided.compared]
    lines.append("")
    for what, number in (("the most probable label", 0), (target, 1)):
        before, after = (
            calibration_error(*_judged(decided, row)[number]).debiased
            for row in (decided.compared[0], decided.taken)
        )
        if before <= LARGE_ERROR:
            verdict = f"which was {LARGE_ERROR} or less before"
        else:
            verdict = "which halves it" if after <= before / 2 else "which does not halve it"
        lines.append(
            f"Debiased error of {what}: {before:.3f} as it comes, {after:.3f} as fitted, {verdict}."
        )
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
        f"fitted on other photographs.{_singly(decided)}",
        "",
        "| point | threshold | | sensitivity | specificity | PPV | NPV |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, point in decided.points.points.items():
        lines.append(f"| {name} | {point.at_least:.4f} | as fitted | {_rates(point)} | | |")
        apart = decided.points_apart[name]
        values = [predictive_values(apart.sensitivity, apart.specificity, p) for p in prevalences]
        ppv, npv = (
            ", ".join("-" if v is None else f"{v:.2%}" for v in column)
            for column in zip(*values, strict=True)
        )
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
    return "\n".join(lines)


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


def _compared_row(decided: Decided, row: Compared) -> str:
    held, said_NK = decided.held, row.probabilities_NK
    truth_NK = held.truth_NK
    cells = [
        _with_interval(
            lambda rows: log_loss(truth_NK[rows], said_NK[rows], exclusive=held.is_exclusive), held
        ),
        _with_interval(lambda rows: brier_score(truth_NK[rows], said_NK[rows]), held),
    ]
    for positive_N, probability_N in _judged(decided, row):
        error = calibration_error(positive_N, probability_N)
        shown = _with_interval(partial(_ece, positive_N, probability_N), held)
        cells += [f"{shown}, perfect {error.bias:.3f}", f"{error.debiased:.3f}"]
    mark = " (taken)" if row is decided.taken else ""
    return f"| {row.name}{mark} | {' | '.join(cells)} |"


def _with_interval(statistic: Callable[[NDArray[np.intp]], float], held: Held) -> str:
    """Lesions are drawn, and not photographs, of which a lesion may have several."""
    order = np.argsort(held.source_N, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(held.source_N[order])) + 1)
    low, high = bootstrap_interval(
        lambda drawn: statistic(np.concatenate([rows_of[number] for number in drawn])), len(rows_of)
    )
    return f"{statistic(np.arange(len(held))):.3f} ({low:.3f} to {high:.3f})"


def _ece(
    positive_N: NDArray[np.bool_], probability_N: Probabilities, rows: NDArray[np.intp]
) -> float:
    return expected_calibration_error(positive_N[rows], probability_N[rows])


def _judged(decided: Decided, row: Compared) -> list[tuple[NDArray[np.bool_], Probabilities]]:
    """Truth and probability of the most probable label, and of the target."""
    truth_NK, said_NK = decided.held.truth_NK, row.probabilities_NK
    column = decided.held.labels.index(decided.points.target)
    return [top_label(truth_NK, said_NK), (truth_NK[:, column], said_NK[:, column])]


TEXTS: Mapping[str, Callable[[Decided], str]] = {
    "probabilities": probabilities_text,
    "points": points_text,
    "sets": sets_text,
    "refer": refer_text,
}

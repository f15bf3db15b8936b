"""How far shares may lie from those that were counted: exact intervals, without SciPy."""

import math


def exact_interval(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share that never covers too rarely (Clopper and Pearson 1934).

    Args:
        count: how many were seen.
        total: of so many; of none, the interval is from 0 to 1.
        confidence: of the interval.
    """
    tail = (1 - confidence) / 2
    low = beta_quantile(count, total, tail) if count else 0.0
    high = beta_quantile(count + 1, total, 1 - tail) if count < total else 1.0
    return low, high


def beta_quantile(rank: int, count: int, quantile: float) -> float:
    """A quantile of the Beta law with parameters ``rank`` and ``count + 1 - rank``.

    It is the law of the rank-th smallest of ``count`` uniform draws: below x with the probability
    that a binomial draw of ``count`` with share x reaches ``rank``.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _reaches(rank, count, middle) < quantile:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _reaches(rank: int, count: int, share: float) -> float:
    """The probability that a binomial draw is ``rank`` or more."""
    if share <= 0 or share >= 1:
        return float(share >= 1 or rank <= 0)
    yes, no = math.log(share), math.log1p(-share)

    def log_ways(k: int) -> float:
        return math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)

    return math.fsum(
        math.exp(log_ways(k) + k * yes + (count - k) * no) for k in range(rank, count + 1)
    )

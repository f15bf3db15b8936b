"""The exact interval of a share that was counted (Clopper and Pearson, Biometrika 1934).

The lower end is the share at which so many or more would be seen in 2.5 % of trials, the upper end
that at which so many or fewer would. Both are found by bisection on the sum of the binomial law,
so that a device needs no library of statistics.
"""

import math
from collections.abc import Callable

import numpy as np

#: Halvings of the interval from 0 to 1: to less than 1e-12.
_HALVINGS = 40


def exact_interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share of which ``count`` of ``total`` were seen; 0 to 1 without any trial.

    Args:
        count: seen.
        total: trials.
        level: of confidence, between 0 and 1.

    Raises:
        ValueError: more were seen than trials, or fewer than none.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total}: expected from 0 to {total}")
    if total == 0:
        return 0.0, 1.0
    seen = np.arange(total + 1)
    ways = np.array([math.lgamma(k + 1) + math.lgamma(total - k + 1) for k in seen])
    log_ways = math.lgamma(total + 1) - ways

    def chance(share: float, least: int, most: int) -> float:
        """Of seeing from ``least`` to ``most``."""
        part = slice(least, most + 1)
        logs = log_ways[part] + seen[part] * math.log(share)
        return float(np.exp(logs + (total - seen[part]) * math.log1p(-share)).sum())

    tail = (1 - level) / 2
    low = 0.0 if count == 0 else _first(lambda share: chance(share, count, total) >= tail)
    high = 1.0 if count == total else _first(lambda share: chance(share, 0, count) <= tail)
    return low, high


def _first(holds: Callable[[float], bool]) -> float:
    """Smallest share from which on something holds."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return (low + high) / 2

"""How far a share may lie from the one that was counted on a few images."""

import math

#: Of the normal distribution, for 95 %.
_DEVIATIONS = 1.959964


def share_interval(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of which ``count`` of ``total`` were seen (Wilson 1927).

    It stays between 0 and 1, and says something also where none or all were seen. Without any image
    it is from 0 to 1.
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = count / total, _DEVIATIONS**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(share * (1 - share) * z2 / total + z2**2 / (4 * total**2)) / (1 + z2 / total)
    return max(0.0, middle - half), min(1.0, middle + half)

"""What a deadline may leave out of a finding, and what that leaves unjudged.

The networks answer in this order: the coarse mask, the diagnosis, the fine mask. Without the fine
mask nobody can tell by the masks whether this is skin with a lesion at all, nor whether the two
networks outline it alike: the finding rests on less, and says so.
"""

from typing import Final

from ckd.finding.sentences import shown

COARSE_MASK: Final = "coarse_mask"
DIAGNOSIS: Final = "diagnosis"
FINE_MASK: Final = "fine_mask"


def left_out_shown(left_out: tuple[str, ...], late_ms: float) -> tuple[str, ...]:
    """What people are told of a deadline, a sentence each; nothing where it was kept."""
    lines = [shown("left_out_fine_mask")] if FINE_MASK in left_out else []
    if late_ms > 0:
        lines.append(shown("late", late_ms=f"{max(late_ms, 1):.0f}"))
    return tuple(lines)

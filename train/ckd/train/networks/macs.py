"""How much networks compute."""

from collections.abc import Callable

import torch


@torch.no_grad()
def macs_of(run: Callable[[], object]) -> int:
    """Multiply-accumulates of a call: convolutions, linear layers and matrix products.

    Networks on the device "meta" are counted without computing anything.
    """
    from torch.utils.flop_counter import FlopCounterMode  # only those who count import it

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops()) // 2

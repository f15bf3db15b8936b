"""What a training runs on: which processor, and which of its processes may speak."""

import os
import sys
from typing import Literal

import torch

from ckd.contract.errors import EnvironmentUnusable

Accelerator = Literal["auto", "cpu", "gpu"]


def device_for(accelerator: Accelerator) -> str:
    """PyTorch's name of the processor; `EnvironmentUnusable` if a GPU is asked for in vain."""
    has_gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not has_gpu:
        raise EnvironmentUnusable(
            "no GPU that PyTorch can use was found; give --accelerator cpu, or install a driver"
        )
    return "cuda" if has_gpu and accelerator != "cpu" else "cpu"


def is_first_process() -> bool:
    """False in the processes that Lightning starts beside the one that was called."""
    return int(os.environ.get("LOCAL_RANK", "0")) == 0


def say(line: str) -> None:
    """A line on stderr, from the first process only."""
    if is_first_process():
        print(line, file=sys.stderr)

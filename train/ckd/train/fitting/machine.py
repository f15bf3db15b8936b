"""The processor that a training runs on."""

from typing import Literal

import torch

from ckd.contract.errors import EnvironmentUnusable

Accelerator = Literal["auto", "cpu", "gpu"]


def device_for(accelerator: Accelerator, devices: int = 1) -> str:
    """PyTorch's name of the processor; `EnvironmentUnusable` if there are too few GPUs."""
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and num_gpus == 0:
        raise EnvironmentUnusable(
            "no GPU that PyTorch can use was found; give --accelerator cpu, or install a driver"
        )
    if accelerator == "cpu" or num_gpus == 0:
        return "cpu"
    if devices > num_gpus:
        raise EnvironmentUnusable(f"{devices} devices asked for, {num_gpus} GPUs were found")
    return "cuda"

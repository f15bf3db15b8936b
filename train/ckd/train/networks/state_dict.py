"""What counts as a state dict, whoever wrote the file that it was read from."""

from typing import TypeGuard

import torch
from torch import Tensor


def is_state_dict(tree: object, *, has_values: bool = True) -> TypeGuard[dict[str, Tensor]]:
    """Whether this is a mapping of names to dense tensors, as `torch.nn.Module` makes one.

    PyTorch's reader without pickle gives any tree of numbers, texts and tensors.

    Args:
        tree: as it was read.
        has_values: the tensors have values, too; with False they were read without them.
    """
    return isinstance(tree, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and tensor.layout is torch.strided
        and not tensor.is_quantized
        and not (has_values and tensor.is_meta)
        for name, tensor in tree.items()
    )

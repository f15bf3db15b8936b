"""What counts as a state dict, whoever wrote the file that it was read from."""

import zipfile
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor


def is_state_dict(tree: object, *, has_values: bool = True) -> TypeGuard[dict[str, Tensor]]:
    """Whether this is a mapping of names to dense tensors, as `torch.nn.Module` makes one.

    A tensor that repeats its values, so that a few bytes stand for any number of them, is none.
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
        and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
        for name, tensor in tree.items()
    )


def is_as_long_as_it_says(path: Path) -> bool:
    """Whether no part of a file is packed, as a small one could then unpack to any size.

    `torch.save` packs nothing.

    Raises:
        OSError: it cannot be read.
        Exception: it begins as a zip file and is damaged.
    """
    if not zipfile.is_zipfile(path):
        return True
    with zipfile.ZipFile(path) as parts:
        return all(part.compress_type == zipfile.ZIP_STORED for part in parts.infolist())

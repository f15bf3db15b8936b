"""Which checkpoint a stage goes on from: the last one or, if that is damaged, the one before.

Whoever only reads runs needs this, and no Lightning.
"""

import zipfile
from pathlib import Path
from typing import Final

from ckd.contract.errors import InputError

#: Added to the name of the checkpoint before the last one.
_BEFORE: Final = ".before"


def before(path: Path) -> Path:
    """Where the checkpoint before that at ``path`` is kept."""
    return path.with_name(f"{path.stem}{_BEFORE}{path.suffix}")


def whole_checkpoint(path: Path, stage: str) -> tuple[Path, str | None]:
    """The checkpoint at ``path`` or, if that one is damaged or missing, the one before it.

    Returns:
        Its path, and a sentence if it is not the one that was asked for.

    Raises:
        InputError: neither is whole.
    """
    if is_whole(path):
        return path, None
    earlier = before(path)
    if is_whole(earlier):
        what = "damaged or cut off" if path.exists() else "missing"
        return earlier, f"{path} is {what}; going on from the epoch before, {earlier.name}"
    check_checkpoint(path if path.exists() else earlier, stage)
    raise AssertionError("a checkpoint was made whole by another process")


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is there, all bytes are as they were written, and it holds weights.

    It is a zip file with the CRC-32 of every part (PyTorch, `torch.serialization`). The list of the
    parts at its end has none: what it says is tried, without the tensors' values. A whole file may
    hold anything; this one holds weights.
    """
    import torch

    from ckd.train.networks.state_dict import is_as_long_as_it_says, is_state_dict

    try:
        if not is_as_long_as_it_says(path):
            return False
        with zipfile.ZipFile(path) as parts:
            attributes = {part.external_attr for part in parts.infolist()}
            if parts.testzip() is not None or len(attributes) != 1:
                return False
        state = torch.load(path, map_location="meta", weights_only=True)["state_dict"]
    except Exception:  # zipfile, zlib and PyTorch may raise anything for a damaged file
        return False
    return is_state_dict(state, has_values=False)


def check_checkpoint(path: Path, stage: str) -> None:
    """Raise `InputError` if the file is cut off or damaged."""
    if not is_whole(path):
        raise InputError(
            f"{path}: damaged or cut off; remove it and repeat the command, which trains stage "
            f"{stage} from its start"
        )

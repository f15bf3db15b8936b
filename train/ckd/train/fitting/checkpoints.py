"""Checkpoints that are there whole or not at all, whatever happens while they are written.

Lightning writes them to a temporary folder and moves them. Where that folder is on another disk,
the move is a copy over the last good checkpoint, and a kill in the middle of it loses both. Here
the last one is kept as well: a disk that loses bytes of the newest costs one epoch and no training.
"""

import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from typing_extensions import override

from ckd.contract.disk import is_of_the_disk
from ckd.contract.errors import InputError
from ckd.contract.leftovers import sweep
from ckd.contract.whole_file import replacing

#: Added to the name of the checkpoint before the last one.
_BEFORE: Final = ".before"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there.

    Args:
        kept: names, without suffix, of checkpoints of which the one before stays too.
    """

    def __init__(self, kept: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.kept = kept

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, is_alone=True)
        spare = before(target) if target.stem in self.kept else None
        try:
            _write(checkpoint, target, spare)
        except OSError as error:
            if spare is None or not spare.exists() or not is_of_the_disk(error):
                raise
            spare.unlink()  # a disk that is nearly full has room for two, not for three
            _write(checkpoint, target, spare)


def _write(checkpoint: dict[str, Any], target: Path, spare: Path | None) -> None:
    with replacing(target, before=spare) as file:
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:  # what PyTorch makes of a full disk
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


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
    """Whether a checkpoint is there and all bytes are as they were written.

    It is a zip file with the CRC-32 of every part (PyTorch, `torch.serialization`).
    """
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False


def check_checkpoint(path: Path, stage: str) -> None:
    """Raise `InputError` if the file is cut off or damaged."""
    if not is_whole(path):
        raise InputError(
            f"{path}: damaged or cut off; remove it and repeat the command, which trains stage "
            f"{stage} from its start"
        )

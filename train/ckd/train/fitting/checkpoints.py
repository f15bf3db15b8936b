"""Checkpoints that are there whole or not at all, whatever happens while they are written.

Lightning writes them to a temporary folder and moves them. Where that folder is on another disk,
the move is a copy over the last good checkpoint, and a kill in the middle of it loses both.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from typing_extensions import override

from ckd.contract.errors import InputError
from ckd.contract.leftovers import WRITING
from ckd.contract.whole_file import replacing


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it there."""

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None
    ) -> None:
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(target.parent)
        with replacing(target) as file:
            torch.save(checkpoint, file)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process had begun to write; nobody else works in the folder."""
    for path in folder.glob(f"{WRITING}*.ckpt-*"):
        path.unlink(missing_ok=True)


def check_checkpoint(path: Path, stage: str) -> None:
    """Raise `InputError` if the file is cut off: a whole one ends in the list of a zip file."""
    if not zipfile.is_zipfile(path):
        raise InputError(
            f"{path}: damaged or cut off; remove it and repeat the command, which trains stage "
            f"{stage} from its start"
        )

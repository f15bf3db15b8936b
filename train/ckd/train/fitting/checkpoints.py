"""Checkpoints that are there whole or not at all, whatever happens while they are written.

Lightning writes them to a temporary folder and moves them. Where that folder is on another disk,
the move is a copy over the last good checkpoint, and a kill in the middle of it loses both. Here
the last one is kept as well: a disk that loses bytes of the newest costs one epoch and no training.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from typing_extensions import override

from ckd.contract.disk import is_of_the_disk, lasting_folder
from ckd.contract.leftovers import sweep
from ckd.contract.whole_file import replacing
from ckd.train.fitting.whole_checkpoint import before


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
        lasting_folder(target.parent)
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

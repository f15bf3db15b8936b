"""The folder of one stage in a run: what state the stage is in, and how that state changes.

rests_on.txt         digest of the networks trained before, and of the images that choose the best
                     epoch
last.ckpt            network, class names, optimiser and schedule after the last finished epoch
last.before.ckpt     the same of the epoch before, if the last one should be damaged
best.ckpt            the epoch that scored best, for stages that select it
logs/                CSV and TensorBoard curves, one folder for each time the stage was started
soup.json            how an average was made, if the stage averages weights
weights.safetensors  the stage's networks; a stage with this file is done
reused_from.txt      the folder that the stage was copied from, if it comes from another run

No other module knows these names.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ckd.console import is_first_process
from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError, UsageError
from ckd.contract.whole_file import new_folder, replace_file
from ckd.train.fitting.whole_checkpoint import before, is_whole
from ckd.train.networks.state_dict import is_state_dict
from ckd.train.systems.graph import System

#: Names of the two checkpoints, without the suffix that Lightning appends.
LAST, BEST = "last", "best"
#: Name of the folder of curves.
LOGS = "logs"
_WEIGHTS, _RESTS_ON, _SOUP = "weights.safetensors", "rests_on.txt", "soup.json"
#: Files and folders that are copied when a stage is taken from another run.
_COPIED = (_WEIGHTS, _RESTS_ON, _SOUP, LOGS)


@dataclass(frozen=True, slots=True)
class StageState:
    """State of a stage on disk.

    Attributes:
        is_done: its weights are there.
        rests_on: text that says what it rests on, None if it was never begun.
        has_checkpoint: an epoch of it was finished.
    """

    is_done: bool = False
    rests_on: str | None = None
    has_checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class StageFolder:
    """A stage's folder, which need not exist yet."""

    path: Path

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.path.name

    @property
    def weights(self) -> Path:
        """File of the finished networks."""
        return self.path / _WEIGHTS

    @property
    def soup(self) -> Path:
        """File that says how the stage's average was made, if it is one."""
        return self.path / _SOUP

    @property
    def is_done(self) -> bool:
        """Whether the stage is finished."""
        return self.weights.exists()

    @property
    def rests_on(self) -> str | None:
        """What the stage was begun on (see `ckd.train.fitting.identity.ground_of`), or None."""
        path = self.path / _RESTS_ON
        return path.read_bytes().decode(errors="replace") if path.exists() else None

    @property
    def checkpoint(self) -> Path | None:
        """The checkpoint of the last epoch, None if no epoch was finished.

        It may be damaged, or missing while the one before is there: `whole_checkpoint` looks.
        """
        path = self.path / f"{LAST}.ckpt"
        return path if path.exists() or before(path).exists() else None

    def state(self) -> StageState:
        """The state that the stage is in now."""
        return StageState(self.is_done, self.rests_on, self.checkpoint is not None)

    def begin(self, ground: str) -> None:
        """Write what the stage rests on, or make sure that this has not changed since.

        Raises:
            UsageError: the stage was trained, or begun, on something else.
        """
        begun_on = self.rests_on
        if begun_on is not None:
            if begun_on != ground:
                raise other_ground(self)
        elif is_first_process():
            lasting_folder(self.path)
            replace_file(self.path / _RESTS_ON, ground.encode())

    def take_from(self, other: "StageFolder") -> None:
        """Copy a finished stage of another run here; a crash leaves the whole copy or none."""
        if not is_first_process():
            return
        with new_folder(self.path) as new:
            new.path.mkdir()
            for name in _COPIED:
                if (other.path / name).is_dir():
                    shutil.copytree(other.path / name, new.path / name)
                elif (other.path / name).exists():
                    shutil.copy2(other.path / name, new.path / name)
            # Relative, so that both may be moved together.
            source = os.path.relpath(other.path, self.path.parent)
            (new.path / "reused_from.txt").write_text(f"{source}\n")
            new.keep()

    def finish(self, nodes: Sequence[str], best: Path | None) -> None:
        """Keep the weights of the best epoch or, without one, of the last: the stage is done then.

        Args:
            nodes: names of the networks that the stage trained.
            best: checkpoint of the best epoch, None to keep the last epoch.

        Raises:
            InputError: the checkpoint is damaged.
        """
        checkpoint = best or self.path / f"{LAST}.ckpt"
        if not is_whole(checkpoint):
            remedy = f"start the stage over with --stage {self.name} --fresh"
            if best is None and is_whole(before(checkpoint)):
                remedy = "repeat the command, which goes on from the epoch before"
            raise InputError(f"{checkpoint}: missing, damaged or cut off; {remedy}")
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        if not is_state_dict(state):
            raise InputError(
                f"{checkpoint}: holds weights without values; start the stage over with "
                f"--stage {self.name} --fresh"
            )
        networks = {
            name: {
                key.removeprefix(f"system.networks.{name}."): value
                for key, value in state.items()
                if key.startswith(f"system.networks.{name}.")
            }
            for name in nodes
        }
        self.keep(networks)
        before(self.path / f"{LAST}.ckpt").unlink(missing_ok=True)

    def keep(self, networks: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Keep the weights of the stage's networks, by name: the stage is done then."""
        lasting_folder(self.path)
        # Copies, as safetensors writes no two that share memory.
        tensors = {
            f"{name}.{key}": value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, state in networks.items()
            for key, value in state.items()
        }
        replace_file(self.weights, save(tensors))

    def networks(self) -> dict[str, dict[str, Tensor]]:
        """The weights of the finished networks, by name; `InputError` if the file is damaged."""
        try:
            tensors = load_file(self.weights)
        except (OSError, SafetensorError) as error:
            raise self._damaged() from error
        networks: dict[str, dict[str, Tensor]] = {}
        for address, value in tensors.items():
            name, _, key = address.partition(".")  # names of nodes hold no dot
            networks.setdefault(name, {})[key] = value
        return networks

    def digest(self) -> str:
        """SHA-256 of the file of the finished networks."""
        return hashlib.sha256(self.weights.read_bytes()).hexdigest()

    def load_into(self, system: System) -> None:
        """Put the finished networks into a system; `InputError` if they are of another system."""
        try:
            for name, state in self.networks().items():
                system.networks[name].load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise self._damaged() from error

    def damage(self) -> str | None:
        """Why the finished networks cannot be read, None if they can."""
        try:
            self.networks()
        except InputError:
            return f"{self.weights} is damaged"
        return None

    def _damaged(self) -> InputError:
        return InputError(
            f"{self.weights}: damaged, or of other networks; remove it and repeat "
            f"`ckd-train fit`, which takes stage {self.name} from its last epoch if it has one"
        )

    def remove(self) -> None:
        """Remove the folder, so that the stage is started over."""
        shutil.rmtree(self.path, ignore_errors=True)


def other_ground(folder: StageFolder) -> UsageError:
    """The error of a stage that was begun on something else than it would rest on now."""
    return UsageError(
        f"{folder.path}: trained on top of other weights, or chosen by other validation images, "
        f"than there are now; start it over with --stage {folder.name} --fresh"
    )

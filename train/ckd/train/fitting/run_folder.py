"""What a training run leaves on disk, and how it is found again.

recipe.json             every setting
operating_point.json    the mask threshold, if one was chosen; a teacher's has a file of its own
data.json               data set, counts and a digest of its files
<stage>/rests_on.txt    digest of the networks trained before, and of what chooses the best epoch
<stage>/last.ckpt       network, class names, optimiser and schedule after the last finished epoch
<stage>/best.ckpt       the epoch that scored best, for stages that select it
<stage>/logs/           CSV and TensorBoard curves, one folder for each time it was started
<stage>/weights.pt      the stage's networks once it is finished
<stage>/reused_from.txt where they come from, if from another run (`ckd.train.fitting.reuse`)
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ckd.console.progress import is_first_process
from ckd.contract.errors import InputError, UsageError
from ckd.data.samples import SampleSet
from ckd.train.evaluation.operating_point import (
    OPERATING_POINT,
    TEACHER_OPERATING_POINT,
    load_mask_threshold,
)
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import Recipe, Stage
from ckd.train.recipes.text import load_recipe
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System


def open_run(
    out: Path,
    recipe: Recipe,
    train_set: SampleSet,
    weights: Weights,
    fresh: Sequence[Stage] = (),
) -> None:
    """Create the run folder, or make sure that it holds this very run.

    Args:
        out: the folder.
        recipe: what is trained.
        train_set: on which images.
        weights: that the encoders start from.
        fresh: stages to start over; the whole folder is emptied if these are all.

    Raises:
        UsageError: ``out`` holds a run of other settings, data or starting weights.
    """
    if not is_first_process():
        return  # the first has done it
    found = {path.name for path in out.iterdir()} if out.exists() else set()
    if found - {"data.json"} and "recipe.json" not in found:
        raise UsageError(f"{out} is no run folder, and not empty; name another one with --out")
    if len(fresh) == len(recipe.stages) and (out / "recipe.json").exists():
        shutil.rmtree(out)
    described = describe(train_set, weights)
    if (out / "recipe.json").exists():
        same = load_recipe(out / "recipe.json") == recipe
        if not same or load_data(out) != described:
            what = "data or starting weights" if same else "settings"
            raise UsageError(
                f"{out} holds a run of other {what}; name another folder with --out, "
                "or start over with --fresh"
            )
        for stage in fresh:
            shutil.rmtree(out / stage.name, ignore_errors=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "data.json").write_text(json.dumps(described, indent=2) + "\n")
    recipe.save(out / "recipe.json")


def describe(train_set: SampleSet, weights: Weights) -> dict[str, Any]:
    """What `data.json` holds."""
    return {
        "name": train_set.name,
        "labels": list(train_set.labels),
        "num_train": len(train_set),
        "class_counts": list(train_set.class_counts()),
        "digest": _digest(train_set),
        "weights": identity(weights),
    }


def ground_of(upstream: str, val_set: SampleSet | None) -> str:
    """What a stage rests on.

    Args:
        upstream: digest of all networks that earlier stages trained.
        val_set: images that choose its best epoch, if any do.
    """
    return f"{upstream}\n{_digest(val_set) if val_set is not None else 'last epoch'}\n"


def note_ground(folder: Path, ground: str) -> None:
    """Write what a stage rests on, or make sure that this has not changed since.

    Raises:
        UsageError: the stage was trained, or begun, on other ground.
    """
    path = folder / "rests_on.txt"
    if path.exists():
        if path.read_bytes() == ground.encode():
            return
        raise UsageError(
            f"{folder}: trained on top of other weights, or chosen by other validation images, "
            f"than there are now; start it over with --stage {folder.name} --fresh"
        )
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(ground)


def load_run(run: Path, *, teacher: bool = False) -> tuple[Recipe, System]:
    """A finished run's recipe and trained system, in evaluation mode, without its teacher.

    Args:
        run: the folder.
        teacher: give the teacher instead, whose stages alone must be finished then.

    Raises:
        InputError: not a run folder, or a stage in it is not finished.
        UsageError: there is no teacher.
    """
    recipe = recipe_of(run)
    labels = tuple(load_data(run)["labels"])
    system = recipe.system.build(labels, recipe.tasks, recipe.image_size, None)
    wanted = rewrite.teacher(system) if teacher else rewrite.deployed(system)
    for stage in recipe.stages:
        finished = run / stage.name / "weights.pt"
        if finished.exists():
            load_stage(system, stage, finished)
        elif not teacher or set(stage.nodes) & set(wanted.networks):
            raise InputError(f"{run}: stage {stage.name} is not finished; resume `ckd-train fit`")
    judged, file = (wanted, TEACHER_OPERATING_POINT) if teacher else (system, OPERATING_POINT)
    wanted.mask_threshold = load_mask_threshold(run / file, judged)
    return recipe, wanted.eval()


def recipe_of(run: Path) -> Recipe:
    """The recipe of a run, finished or not; `InputError` if it is no run folder."""
    if not (run / "recipe.json").is_file():
        raise InputError(f"{run}: not a run folder (no recipe.json); `ckd-train fit` makes one")
    return load_recipe(run / "recipe.json")


def load_data(run: Path) -> dict[str, Any]:
    """What `data.json` of a run folder holds; `InputError` if it is missing or damaged."""
    path = run / "data.json"
    try:
        found = json.loads(path.read_text())
        if missing := {"name", "labels", "num_train", "class_counts", "digest"} - set(found):
            raise ValueError(f"no {min(missing)} in it")
        if not isinstance(found, dict) or not isinstance(found["labels"], list):
            raise TypeError("not what `ckd-train fit` wrote")
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); train anew with --fresh") from error
    return dict(found)


def save_stage(stage: Stage, checkpoint: Path, out: Path) -> None:
    """Keep a stage's networks of a checkpoint as `weights.pt`: the stage is finished then."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=False)["state_dict"]
    weights = {
        name: {
            key.removeprefix(f"system.networks.{name}."): value
            for key, value in state.items()
            if key.startswith(f"system.networks.{name}.")
        }
        for name in stage.nodes
    }
    partial = out / "weights.pt.partial"
    torch.save(weights, partial)
    partial.replace(out / "weights.pt")


def load_stage(system: System, stage: Stage, weights: Path) -> None:
    """Put a finished stage's weights into a system; `InputError` if the file is damaged."""
    try:
        for name, state in torch.load(weights, map_location="cpu", weights_only=True).items():
            system.networks[name].load_state_dict(state)
    except Exception as error:  # PyTorch's reader raises whatever the bytes lead to
        raise InputError(
            f"{weights}: damaged, or of other networks; remove it and repeat "
            f"`ckd-train fit`, which takes stage {stage.name} from its last epoch"
        ) from error


def identity(weights: Weights) -> str:
    """What the encoders started from; of files their content, wherever they lie."""
    if not isinstance(weights, Path):
        return weights or "none"
    try:
        files = sorted(weights.glob("*.pth")) if weights.is_dir() else [weights]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return f"sha256 {' '.join(digests)}"
    except OSError as error:
        raise UsageError(f"{weights}: cannot be read ({error.strerror})") from error


def _digest(samples: SampleSet) -> str:
    """Identity of a data set: names, labels, images by size (reading all takes long), masks."""
    digest = hashlib.sha256()
    for sample in samples.samples:
        digest.update(f"{sample.id} {sample.label} {sample.image.stat().st_size}\n".encode())
        if sample.mask is not None:
            digest.update(hashlib.sha256(sample.mask.read_bytes()).digest())
    return digest.hexdigest()

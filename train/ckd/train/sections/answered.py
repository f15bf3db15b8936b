"""What the networks of each fold said of photographs that they were not trained on, and of others.

Suffixes: H rows, W columns of a photograph.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.console import say
from ckd.contract.errors import InputError
from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet
from ckd.finding.answers import answers_from_logits
from ckd.finding.outcome import is_blank
from ckd.finding.signs import mask_signs
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.evaluation.held_out import ANSWERS, NO_LABEL, HeldOutAnswers
from ckd.train.fitting.run_folder import load_data, load_run, recipe_of
from ckd.train.systems.graph import System

#: A batch ends with so many pictures, or with the one that makes it so many pixels.
_BATCH, _BATCH_PIXELS = 16, 64_000_000


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture as the networks see it.

    Attributes:
        signs: figures of the masks, by name (`ckd.finding.signs`).
        is_blank: by the fixed rule of `ckd.finding.outcome`.
        is_outlined: the fine mask has a pixel.
    """

    signs: dict[str, float]
    is_blank: bool
    is_outlined: bool


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        name: of its folder.
        system: trained on all other folds.
        recipe_digest: of the recipe that it was trained by.
        data_digest: of the images that it was trained on, which could be read.
        target: the label that its recipe looks for.
        held_out: photographs that it was not trained on.
        trained_on: the others.
        answers: what it said of those held out, in their order.
    """

    name: str
    system: System
    recipe_digest: str
    data_digest: str
    target: str
    held_out: tuple[Sample, ...]
    trained_on: tuple[Sample, ...]
    answers: HeldOutAnswers


def training_images(folder: Path, data: Path) -> SampleSet:
    """The training images that folds were cut from, as their recipe splits the data set.

    Raises:
        InputError: there is no finished fold, or the data set cannot be read.
    """
    run, _ = _finished(folder)[0]
    return read_split(data, "train", recipe_of(run).split_by)


def folds_below(folder: Path, train_set: SampleSet, device: str) -> Iterator[Fold]:
    """The finished folds of `ckd-train crossvalidate`, or of a candidate of `ckd-train study`.

    Raises:
        InputError: there is none, one is damaged, it was held out from other images than these or
            with other labels, two held out one image, or answers are of other weights.
    """
    by_id = {sample.id: sample for sample in train_set.samples}
    held_by: dict[str, str] = {}
    finished = _finished(folder)
    for run in _runs(folder):
        if (run, run / ANSWERS) not in finished:
            say(f"{run.name} is left out: it has no {ANSWERS} yet")
    for run, path in finished:
        said = HeldOutAnswers.load(path)
        ids = set(said.ids)
        if unknown := [name for name in said.ids if name not in by_id]:
            raise InputError(
                f"{run}: held out {unknown[0]}, which is no training image of {train_set.name}; "
                "give the data set that it was made with"
            )
        for name, label in zip(said.ids, said.label_N.tolist(), strict=True):
            if name in held_by:
                raise InputError(
                    f"{run}: held out {name}, which {held_by[name]} held out, too; give folds of "
                    "one cross-validation"
                )
            held_by[name] = run.name
            true = by_id[name].label
            if label != (NO_LABEL if true is None else true):
                raise InputError(
                    f"{path}: {name} has another label there than in {train_set.name}; give the "
                    "data set that it was made with"
                )
        recipe, system = load_run(run)
        if said.weights != system.digest():
            raise InputError(
                f"{path}: answers of other weights than those in {run}; remove it and repeat "
                "`ckd-train crossvalidate`"
            )
        outputs = system.outputs
        made = {"mask_logits_NHW": outputs.mask_logits, "coarse_logits_NHW": outputs.coarse_logits}
        for name, tensor in made.items():
            if tensor is not None and getattr(said, name) is None:
                raise InputError(
                    f"{path}: has no {name}, though the networks in {run} make them; remove it and "
                    "repeat `ckd-train crossvalidate`"
                )
        # Depthwise convolutions are twice as fast in this layout on a CPU.
        system = system.to(device).to(memory_format=torch.channels_last)
        yield Fold(
            name=run.name,
            system=system.eval(),
            recipe_digest=recipe.digest(),
            data_digest=str(load_data(run)["digest"]),
            target=recipe.target_of(system.labels),
            held_out=tuple(by_id[name] for name in said.ids),
            trained_on=tuple(sample for sample in train_set.samples if sample.id not in ids),
            answers=said,
        )


def _runs(folder: Path) -> list[Path]:
    return [path.parent for path in sorted(folder.glob("fold*/recipe.json"))]


def _finished(folder: Path) -> list[tuple[Path, Path]]:
    """Runs of finished folds, each with the file of its answers."""
    # A fold that is still in training may hold answers of its stages, which are not those.
    answers = [(run, run / ANSWERS) for run in _runs(folder) if (run / ANSWERS).is_file()]
    if not answers:
        raise InputError(
            f"{folder}: no finished fold (fold*/{ANSWERS}); `ckd-train crossvalidate` makes them"
        )
    return answers


#: A picture, uint8 RGB [H, W, 3]; its fine mask of the same size, as it comes from the threshold;
#: what else is said of it.
Seen = tuple[NDArray[np.uint8], NDArray[np.bool_], Answered]


def kept_answer(fold: Fold, row: int) -> Seen:
    """What a fold kept of a photograph that it held out, so that no network need run again.

    Logits were kept as float16, half a thousandth off at most.
    """
    outputs, answers = fold.system.outputs, fold.answers
    kept = {
        outputs.mask_logits: answers.mask_logits_NHW,
        outputs.coarse_logits: answers.coarse_logits_NHW,
    }
    logits = {
        name: kept_NHW[row][None, None].astype(np.float32)
        for name, kept_NHW in kept.items()
        if name is not None and kept_NHW is not None
    }
    image_HWC = read_rgb(fold.held_out[row].image)
    return _seen(fold.system, logits, image_HWC, network_image(image_HWC, fold.system.image_size))


def answered(system: System, images: Iterable[NDArray[np.uint8]]) -> Iterator[Seen]:
    """What a system says of pictures, uint8 RGB [H, W, 3]."""
    outputs, device = system.outputs, next(system.parameters()).device
    names = [name for name in (outputs.mask_logits, outputs.coarse_logits) if name is not None]
    for batch in batches(images):
        small = [network_image(image_HWC, system.image_size) for image_HWC in batch]
        with torch.no_grad():
            tensors = system(torch.from_numpy(np.stack(small)).to(device), names)
        logits = {name: tensors[name].float().cpu().numpy() for name in names}
        for row, image_HWC in enumerate(batch):
            own = {name: values[row : row + 1] for name, values in logits.items()}
            yield _seen(system, own, image_HWC, small[row])


def _seen(
    system: System,
    logits: Mapping[str, NDArray[np.float32]],
    image_HWC: NDArray[np.uint8],
    small_SSC: NDArray[np.uint8],
) -> Seen:
    """By the logits of the masks, [1, 1, h, w], and the picture as the networks see it."""
    masks_only = system.outputs.renamed(lambda name: name if name in logits else None)
    answers = answers_from_logits(system, logits, *image_HWC.shape[:2], outputs=masks_only)
    mask_HW = answers.mask_HW
    assert mask_HW is not None
    signs = mask_signs(masks_only, logits)
    return image_HWC, mask_HW, Answered(signs, is_blank(small_SSC), bool(mask_HW.any()))


def batches(images: Iterable[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    """Small enough that photographs of any size fit into the memory."""
    batch: list[NDArray[np.uint8]] = []
    num_pixels = 0
    for image_HWC in images:
        batch.append(image_HWC)
        num_pixels += image_HWC.shape[0] * image_HWC.shape[1]
        if len(batch) == _BATCH or num_pixels >= _BATCH_PIXELS:
            yield batch
            batch, num_pixels = [], 0
    if batch:
        yield batch


def sign_table(pictures: Sequence[Answered]) -> NDArray[np.float64]:
    """Figures of the masks, a row for each picture."""
    return np.array([[*picture.signs.values()] for picture in pictures], np.float64)

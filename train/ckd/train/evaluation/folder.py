"""The folder that an evaluation writes, for people and for programs.

    scores.json             official scores with 95 % bootstrap intervals over the images
    per_image.csv           the answers for each image and the scores of its masks
    roc.png                 and precision_recall.png, if labels are known
    jaccard.png             distribution of the masks' Jaccard indices, if masks are known
    worst_cases.png         the photographs with the worst scores
    explanations.png        the evidence for the predicted labels, if labels are known
    tsne.png                the classifier's features in the plane, if 20 images have labels
    groups.*                if asked for, see `ckd.train.evaluation.subgroups`

Suffixes: H rows, W columns, C channels in RGB order.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.contract.cells import cell
from ckd.contract.disk import lasting_folder
from ckd.contract.labels import label_of
from ckd.contract.whole_file import replace_file
from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.finding.explanation import draw_heat
from ckd.finding.files import write_json
from ckd.finding.logits import mask_from_logits
from ckd.finding.overlay import FINE_RGB, draw_border
from ckd.picture.decode import read_rgb
from ckd.scores.images import ImageScore, diagnosed
from ckd.train.evaluation import plots
from ckd.train.evaluation.summary import Evaluation
from ckd.train.evaluation.views import Logits
from ckd.train.systems.graph import System

TRUTH_RGB = (255, 64, 208)  # the colour-blind can tell it from the overlay's green
_NUM_WORST = 12
_TILE_PX = 320  # longer side
_MASK_COLUMNS = ("jaccard", "dice", "sensitivity", "specificity", "accuracy")
_FILES = (
    "scores.json", "per_image.csv", "roc.png", "precision_recall.png", "jaccard.png",
    "worst_cases.png", "explanations.png", "tsne.png",
    "groups.json", "groups.csv", "groups.md",
)  # fmt: skip


def write_folder(
    evaluation: Evaluation,
    pictures: Mapping[str, NDArray[np.uint8]],
    figures: Mapping[str, Figure],
    out: Path,
) -> None:
    """Write the folder described above; an earlier one is replaced as a whole.

    Args:
        evaluation: its scores are written.
        pictures: of the `worst_images`, by id, drawn by `with_outlines`.
        figures: further figures, by file name.
        out: the folder; it is created if missing.
    """
    lasting_folder(out)
    for name in _FILES:
        (out / name).unlink(missing_ok=True)  # the new evaluation may not have every figure
    _write_per_image(evaluation, out / "per_image.csv")
    _draw_curves(evaluation, out)
    if pictures:
        tiles = {
            heading: [plots.Tile(pictures[s.id], caption(s, evaluation)) for s in scores]
            for heading, scores in worst_images(evaluation.images).items()
        }
        colours = {"truth": TRUTH_RGB, "predicted": FINE_RGB}
        sheet = plots.contact_sheet(tiles, colours, evaluation.title)
        plots.save(sheet, out / "worst_cases.png", dpi=120)
    for name, figure in figures.items():
        plots.save(figure, out / name, dpi=120)
    # This file is written last, so a folder that has it is complete.
    write_json(out / "scores.json", evaluation.as_dict())


def worst_images(images: Sequence[ImageScore]) -> dict[str, list[ImageScore]]:
    """The images with the worst masks and those with the worst probabilities, by heading."""
    masks = [(s.fine.jaccard, s) for s in images if s.fine is not None]
    labels = [(certainty, s) for s in images if (certainty := probability_of_truth(s)) is not None]
    return {
        heading: [score for _, score in sorted(ranked, key=lambda pair: pair[0])[:_NUM_WORST]]
        for heading, ranked in {
            "Least overlap of fine mask and truth": masks,
            "Least probability of the true label": labels,
        }.items()
        if ranked
    }


def probability_of_truth(score: ImageScore) -> float | None:
    """Probability of the true label; None if the label or the probabilities are unknown.

    For an image of none of the labels it is one minus the largest probability.
    """
    if score.label is None or score.probabilities is None:
        return None
    if score.label == len(score.probabilities):
        return 1.0 - max(score.probabilities)
    return score.probabilities[score.label]


def with_outlines(
    system: System,
    sample: Sample,
    logits: Logits,
    heat_hw: NDArray[np.float32] | None = None,
) -> NDArray[np.uint8]:
    """The photograph, reduced in size, with the borders of the true and the fine mask.

    A map ``heat_hw`` is drawn over it by `ckd.finding.explanation.draw_heat`.
    """
    image_HWC = read_rgb(sample.image)
    scale = _TILE_PX / max(image_HWC.shape)
    size = (max(1, round(image_HWC.shape[1] * scale)), max(1, round(image_HWC.shape[0] * scale)))
    small_HWC = np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
    if heat_hw is not None:
        small_HWC = draw_heat(small_HWC, heat_hw)
    if sample.mask is not None:
        truth = cv2.resize(
            read_mask(sample.mask).astype(np.float32), size, interpolation=cv2.INTER_AREA
        )
        draw_border(small_HWC, np.asarray(truth >= 0.5), TRUTH_RGB, 3)
    if system.outputs.mask_logits in logits:
        fine_HW = mask_from_logits(
            logits[system.outputs.mask_logits][0],
            size[1],
            size[0],
            threshold=system.mask_threshold,
        )
        draw_border(small_HWC, fine_HW, FINE_RGB, 2)
    return small_HWC


def _write_per_image(evaluation: Evaluation, path: Path) -> None:
    labels = evaluation.labels
    with io.StringIO(newline="") as text:
        table = csv.writer(text, lineterminator="\n")
        columns = ("top", *_MASK_COLUMNS, "coarse_jaccard", "views")
        table.writerow(["id", "label", *map(cell, labels), *columns])
        for score in evaluation.images:
            probabilities = score.probabilities or ()
            masks = [getattr(score.fine, name, None) for name in _MASK_COLUMNS]
            masks.append(getattr(score.coarse, "jaccard", None))
            label = "" if score.label is None else label_of(labels, score.label)
            row: list[object] = [cell(score.id), cell(label)]
            row += [f"{p:.6f}" for p in probabilities] or [""] * len(labels)
            row.append(
                cell(label_of(labels, predicted_label(score, evaluation))) if probabilities else ""
            )
            row += ["" if value is None else f"{value:.6f}" for value in masks]
            table.writerow([*row, evaluation.views])
        replace_file(path, text.getvalue().encode())


def _draw_curves(evaluation: Evaluation, out: Path) -> None:
    """Draw the figures over all images; a figure that would be empty is not written."""
    scores, title = evaluation.classification, evaluation.title
    if scores is not None and not all(math.isnan(s.auc) for s in scores.per_label.values()):
        content = (*diagnosed(evaluation.images), evaluation.labels, scores.tasks, title)
        plots.save(plots.roc_figure(*content), out / "roc.png")
        plots.save(plots.precision_recall_figure(*content), out / "precision_recall.png")
    jaccards = {
        "fine": [s.fine.jaccard for s in evaluation.images if s.fine is not None],
        "coarse": [s.coarse.jaccard for s in evaluation.images if s.coarse is not None],
    }
    if jaccards := {name: values for name, values in jaccards.items() if values}:
        plots.save(plots.jaccard_figure(jaccards, title), out / "jaccard.png")


def predicted_label(score: ImageScore, evaluation: Evaluation) -> int:
    """Index of the most probable label.

    If labels do not exclude each other and none is more probable than not, it is one past the last.
    """
    assert score.probabilities is not None
    top = int(np.argmax(score.probabilities))
    none = not evaluation.exclusive and score.probabilities[top] <= 0.5
    return len(evaluation.labels) if none else top


def caption(score: ImageScore, evaluation: Evaluation) -> tuple[str, ...]:
    """Id, score of the mask, predicted and true label, each on a line."""
    labels = evaluation.labels
    lines = [score.id if len(score.id) <= 30 else f"...{score.id[-27:]}"]
    if score.fine is not None:
        lines.append(f"Jaccard {score.fine.jaccard:.3f}")
    if score.probabilities is not None:
        top = label_of(labels, predicted_label(score, evaluation))
        lines.append(f"predicted {top} {max(score.probabilities):.3f}")
        if score.label is not None:
            true = label_of(labels, score.label)
            lines.append(f"true {true} {probability_of_truth(score):.3f}")
    return tuple(lines)

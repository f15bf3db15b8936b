"""`explanations.png`: the evidence for the predicted label of some wrong and some right images.

Each image is shown three times: the photograph, Grad-CAM++ scaled to its own largest value, and the
map that a bundle exported with --explain gives, on the scale of `ckd-run`.

Suffixes: H rows, W columns, C channels in RGB order, h, w of a map, S network side.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.data.samples import Sample
from ckd.finding.explanation import FULL_LOG_ODDS, colour_over_skin
from ckd.finding.overlay import FINE_RGB
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.images import ImageScore
from ckd.train.evaluation import plots
from ckd.train.evaluation.explain import explain
from ckd.train.evaluation.folder import (
    TRUTH_RGB,
    caption,
    predicted_label,
    probability_of_truth,
    with_outlines,
)
from ckd.train.evaluation.summary import Evaluation
from ckd.train.evaluation.views import Logits
from ckd.train.systems.graph import System

_NUM_EACH = 6
_WRONG = "Most wrong: least probability of the true label"
_RIGHT = "Right: the most certain of each label in turn"


def images_to_explain(evaluation: Evaluation) -> dict[str, list[ImageScore]]:
    """The most wrong images and some right ones, by heading.

    Only images that have a label and probabilities are chosen; a heading without images is absent.
    """
    ranked = [(p, s) for s in evaluation.images if (p := probability_of_truth(s)) is not None]
    ranked.sort(key=lambda pair: pair[0])
    wrong = [score for _, score in ranked if predicted_label(score, evaluation) != score.label]
    right: dict[int, list[ImageScore]] = {}
    for _, score in reversed(ranked):
        if predicted_label(score, evaluation) == score.label:
            right.setdefault(score.label, []).append(score)
    in_turn = [
        right[label][turn]
        for turn in range(_NUM_EACH)
        for label in sorted(right)
        if turn < len(right[label])
    ]
    sections = {_WRONG: wrong[:_NUM_EACH], _RIGHT: in_turn[:_NUM_EACH]}
    return {heading: scores for heading, scores in sections.items() if scores}


def explained_pictures(
    system: System, sample: Sample, logits: Logits, score: ImageScore
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grad-CAM++ and the deployed map of the most probable label, over the photograph.

    Both maps are computed from the plain view, even if the logits were averaged over several views.

    Args:
        system: made by `ckd.train.systems.rewrite.explained`, in evaluation mode.
        sample: its photograph is drawn.
        logits: of the sample, for the outlines.
        score: of these logits.
    """
    image_SSC = network_image(read_rgb(sample.image), system.image_size)
    (explanation,) = explain(system, image_SSC[None], [int(np.argmax(score.probabilities or ()))])
    grad_cam_hw = explanation.grad_cam_hw / max(float(explanation.grad_cam_hw.max()), 1e-12)
    log_odds_hw = explanation.log_odds_hw / FULL_LOG_ODDS
    return (
        with_outlines(system, sample, logits, grad_cam_hw),
        with_outlines(system, sample, logits, log_odds_hw),
    )


def explanation_sheet(
    evaluation: Evaluation,
    pictures: Mapping[str, NDArray[np.uint8]],
    explained: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> Figure:
    """The contact sheet of the `images_to_explain`, two in a row.

    Args:
        evaluation: its images are shown.
        pictures: the outlined photographs, by id.
        explained: the results of `explained_pictures`, by id.
    """

    def tiles(score: ImageScore) -> Sequence[plots.Tile]:
        top = evaluation.labels[int(np.argmax(score.probabilities or ()))]
        grad_cam, cam = explained[score.id]
        return (
            plots.Tile(pictures[score.id], caption(score, evaluation)),
            plots.Tile(grad_cam, (f"Grad-CAM++ of {top}", "on a scale of its own")),
            plots.Tile(cam, (f"Class map of {top}", f"log-odds 0 to {FULL_LOG_ODDS:.0f} and more")),
        )

    sections = {
        heading: [tile for score in scores for tile in tiles(score)]
        for heading, scores in images_to_explain(evaluation).items()
    }
    colours = {
        "truth": TRUTH_RGB,
        "predicted": FINE_RGB,
        "weak": colour_over_skin(0.35),
        "strong": colour_over_skin(1.0),
    }
    title = f"What spoke for the predicted label\n{evaluation.title}"
    return plots.contact_sheet(sections, colours, title)

"""`explanations.png`: what spoke for the predicted label, where it was wrong and where right.

Each image three times: the photograph, Grad-CAM++ scaled to its own largest value, and the map that
a bundle exported with --explain gives, on the scale of `ckd-run`.

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
from ckd.train.evaluation.folder import TRUTH_RGB, caption, outlined, probability_of_truth, said
from ckd.train.evaluation.summary import Evaluation
from ckd.train.evaluation.views import Answers
from ckd.train.systems.graph import System

_NUM_EACH = 6
_WRONG = "Most wrong: least probability of the true label"
_RIGHT = "Right: the most certain of each label in turn"


def chosen(evaluation: Evaluation) -> dict[str, list[ImageScore]]:
    """The most wrong images and some right ones, by heading; empty without labels or answers."""
    ranked = [(p, s) for s in evaluation.images if (p := probability_of_truth(s)) is not None]
    ranked.sort(key=lambda pair: pair[0])
    wrong = [score for _, score in ranked if said(score, evaluation) != score.label]
    right: dict[int, list[ImageScore]] = {}
    for _, score in reversed(ranked):
        if said(score, evaluation) == score.label:
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
    system: System, sample: Sample, answer: Answers, score: ImageScore
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grad-CAM++ and the deployed map of the most probable label, over the photograph.

    Both are of the plain view, whatever views were averaged for the answer.

    Args:
        system: as `ckd.train.systems.rewrite.explained` makes it, in evaluation mode.
        sample: whose photograph it is.
        answer: to it, for the outlines.
        score: of that answer.
    """
    image_SSC = network_image(read_rgb(sample.image), system.image_size)
    (found,) = explain(system, image_SSC[None], [int(np.argmax(score.probabilities or ()))])
    own_hw = found.grad_cam_hw / max(float(found.grad_cam_hw.max()), 1e-12)
    log_odds_hw = found.log_odds_hw / FULL_LOG_ODDS
    return outlined(system, sample, answer, own_hw), outlined(system, sample, answer, log_odds_hw)


def explanation_sheet(
    evaluation: Evaluation,
    pictures: Mapping[str, NDArray[np.uint8]],
    explained: Mapping[str, tuple[NDArray[np.uint8], NDArray[np.uint8]]],
) -> Figure:
    """The contact sheet of the `chosen` images, two in a row.

    Args:
        evaluation: what was found.
        pictures: the outlined photographs, by id.
        explained: what `explained_pictures` made, by id.
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
        for heading, scores in chosen(evaluation).items()
    }
    colours = {
        "truth": TRUTH_RGB,
        "predicted": FINE_RGB,
        "weak": colour_over_skin(0.35),
        "strong": colour_over_skin(1.0),
    }
    title = f"What spoke for the predicted label\n{evaluation.title}"
    return plots.contact_sheet(sections, colours, title)

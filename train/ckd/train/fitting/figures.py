"""Figures that a stage is watched by: computed from the scores of the validation images."""

from collections.abc import Callable, Sequence

from ckd.contract.spec import OutputSpec
from ckd.scores.images import ImageScore, binary_label_loss, label_loss, label_scores, mask_scores
from ckd.train.losses.classification import class_weights, positive_weights
from ckd.train.losses.term import ClassCounts
from ckd.train.systems.graph import System

#: Gives figures by name from the scores of all validation images.
Figures = Callable[[Sequence[ImageScore]], dict[str, float]]


def stage_figures(
    scores: Sequence[ImageScore],
    system: System,
    judged: OutputSpec,
    tasks: tuple[str, ...],
    classes: ClassCounts,
) -> dict[str, float]:
    """Figures of the outputs that a stage trains; names are those of `Stage.monitor` and more.

    Args:
        scores: of all validation images.
        system: that they are scores of.
        judged: outputs that the stage trains.
        tasks: labels of the mean AUC.
        classes: number of training images by class, which weigh the loss.
    """
    figures: dict[str, float] = {}
    masks = mask_scores(scores, "coarse" if judged.mask_logits is None else "fine")
    if masks is not None:
        figures["jaccard"] = masks.jaccard
        figures["dice"] = masks.dice
        figures["pixel_accuracy"] = masks.accuracy
    labels = label_scores(system, scores, tasks)
    if labels is not None:
        figures["mean_auc"] = labels.mean_auc
        figures["accuracy"] = labels.accuracy
        figures["balanced_accuracy"] = labels.balanced_accuracy
        figures["label_loss"] = (
            label_loss(scores, class_weights(classes.per_label))
            if judged.exclusive
            else binary_label_loss(scores, positive_weights(classes))
        )
    if masks is not None and labels is not None:
        figures["jaccard_and_auc"] = (masks.jaccard + labels.mean_auc) / 2
    return figures

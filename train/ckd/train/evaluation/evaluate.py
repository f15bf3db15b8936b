"""Run a trained system over a set of images, score it, and write the scores and figures.

Every record names its views, because scores of "1" and of "paper" are not comparable
(`ckd.train.evaluation.views`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.console.progress import Progress
from ckd.contract.errors import UsageError
from ckd.data.samples import Sample, SampleSet, numbered_as
from ckd.scores.images import ImageScore
from ckd.train.evaluation.embedding import embedding_figure
from ckd.train.evaluation.explanation_sheet import (
    explained_pictures,
    explanation_sheet,
    images_to_explain,
)
from ckd.train.evaluation.folder import with_outlines, worst_images, write_folder
from ckd.train.evaluation.scoring import score_image
from ckd.train.evaluation.summary import Evaluation, Views, summarised
from ckd.train.evaluation.views import Logits, image_logits
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System


def evaluate(
    recipe: Recipe,
    system: System,
    samples: SampleSet,
    out: Path,
    *,
    views: Views,
    batch_size: int = 16,
    progress: Progress | None = None,
    answered: Callable[[Sample, Logits], None] | None = None,
) -> Evaluation:
    """Run ``system`` on ``samples``, score it, and write scores and figures to a folder.

    The folder ``out`` is described in `ckd.train.evaluation.folder`. ``answered`` is told each
    sample with its logits and the classifier's features, in the order of the samples.

    Raises:
        InputError: there are no images, one cannot be decoded, or one has a label that the system
            does not know.
        UsageError: unknown views.
    """
    if views not in get_args(Views):
        raise UsageError(f"views {views!r}: expected one of {', '.join(get_args(Views))}")
    samples = numbered_as(system.labels, samples, exclusive=system.outputs.exclusive)
    settings = next(
        (s.augmentation for s in recipe.trained if system.outputs.class_logits in s.tensors()),
        Augmentation(),
    )
    # This system has the same answers, and also gives class maps and the classifier's features.
    open_system = rewrite.explained(system) if rewrite.class_head(system) else system
    features: list[NDArray[np.float32]] = []

    def logits_of(subset: Sequence[Sample]) -> Iterator[tuple[Sample, Logits]]:
        return image_logits(open_system, subset, views, settings, batch_size)

    was_training = open_system.training
    open_system.eval()
    try:
        images: list[ImageScore] = []
        for sample, logits in logits_of(samples.samples):
            images.append(score_image(system, logits, sample))
            if answered is not None:
                answered(sample, logits)
            if rewrite.FEATURES in logits:
                features.append(logits[rewrite.FEATURES])
            if progress is not None:
                progress(len(images), len(samples))
        evaluation = summarised(
            recipe.name, system, samples, images,
            weights=system.digest(), tasks=recipe.tasks, views=views,
        )  # fmt: skip
        # The system runs again on the images that are drawn, so that the masks of thousands of
        # images need not be kept.
        to_explain = {s.id: s for scores in images_to_explain(evaluation).values() for s in scores}
        ids = {s.id for scores in worst_images(images).values() for s in scores} | {*to_explain}
        pictures, explained = {}, {}
        for sample, logits in logits_of([s for s in samples.samples if s.id in ids]):
            pictures[sample.id] = with_outlines(system, sample, logits)
            if features and sample.id in to_explain:
                explained[sample.id] = explained_pictures(
                    open_system, sample, logits, to_explain[sample.id]
                )
    finally:
        open_system.train(was_training)

    figures: dict[str, Figure] = {}
    if explained:
        figures["explanations.png"] = explanation_sheet(evaluation, pictures, explained)
    if features and (figure := embedding_figure(evaluation, features)) is not None:
        figures["tsne.png"] = figure
    write_folder(evaluation, pictures, figures, out)
    return evaluation

"""Run a trained system over a set of images, score it, and write down what was found.

Every record names its views: scores of "1" and of "paper" are not comparable
(`ckd.train.evaluation.views`).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.data.samples import Sample, SampleSet, numbered_as
from ckd.scores.images import ImageScore
from ckd.train.evaluation.embedding import embedding_figure
from ckd.train.evaluation.explanation_sheet import chosen, explained_pictures, explanation_sheet
from ckd.train.evaluation.folder import outlined, worst, write_folder
from ckd.train.evaluation.scoring import score_image
from ckd.train.evaluation.summary import Evaluation, Views, summarised
from ckd.train.evaluation.views import Answers, answers
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.recipes.recipe import Recipe
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System

#: Called with the number of images done and of all.
Progress = Callable[[int, int], None]


def evaluate(
    recipe: Recipe,
    system: System,
    samples: SampleSet,
    out: Path,
    *,
    views: Views,
    batch_size: int = 16,
    progress: Progress | None = None,
) -> Evaluation:
    """Run ``system`` on ``samples``, score it, and write down what was found.

    The folder ``out`` is described in `ckd.train.evaluation.folder`.

    Raises:
        InputError: no images, one that cannot be decoded, or a label that the system does not know.
        UsageError: unknown views.
    """
    if views not in get_args(Views):
        raise UsageError(f"views {views!r}: expected one of {', '.join(get_args(Views))}")
    samples = numbered_as(system.labels, samples, exclusive=system.outputs.exclusive)
    settings = next(
        (s.augmentation for s in recipe.stages if system.outputs.class_logits in s.tensors()),
        Augmentation(),
    )

    # The same answers, and what the classifier rests them on.
    open_system = rewrite.explained(system, features=True) if rewrite.class_head(system) else system
    features: list[NDArray[np.float32]] = []

    def answered(some: Sequence[Sample]) -> Iterator[tuple[Sample, Answers]]:
        return answers(open_system, some, views, settings, batch_size)

    was_training = open_system.training
    open_system.eval()
    try:
        images: list[ImageScore] = []
        for sample, answer in answered(samples.samples):
            images.append(score_image(system, answer, sample))
            if rewrite.FEATURES in answer:
                features.append(answer[rewrite.FEATURES])
            if progress is not None:
                progress(len(images), len(samples))
        evaluation = summarised(
            recipe.name, system, samples, images, weights=system.digest(), tasks=recipe.tasks,
            mask_threshold=system.mask_threshold, views=views,
        )  # fmt: skip
        # These are answered again, so that no masks need be kept of thousands of images.
        to_explain = {s.id: s for scores in chosen(evaluation).values() for s in scores}
        ids = {score.id for scores in worst(images).values() for score in scores} | {*to_explain}
        pictures, explained = {}, {}
        for sample, answer in answered([s for s in samples.samples if s.id in ids]):
            pictures[sample.id] = outlined(system, sample, answer)
            if features and sample.id in to_explain:
                explained[sample.id] = explained_pictures(
                    open_system, sample, answer, to_explain[sample.id]
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

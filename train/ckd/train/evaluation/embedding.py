"""`tsne.png`: the classifier's features in the plane, as in figure 7 of CKDNet's paper.

Suffixes: N images, C features.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.contract.labels import label_of
from ckd.train.evaluation import plots
from ckd.train.evaluation.folder import predicted_label
from ckd.train.evaluation.summary import Evaluation

#: With fewer labelled images no figure is drawn.
MIN_IMAGES = 20
#: More would take longer than the rest of an evaluation. The images are chosen evenly, in the order
#: of the data set.
_MAX_IMAGES = 1000
_PERPLEXITY = 30.0


def tsne(features_NC: NDArray[Any]) -> NDArray[np.float32]:
    """Embed features in the plane by t-SNE (van der Maaten and Hinton, 2008); gives [N, 2].

    Equal features give equal places: it starts from the first two principal components and runs on
    one thread, because several threads would add up in another order each time. The perplexity is
    30, and less for fewer than 91 images.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(features_NC) - 1) / 3)
    with threadpool_limits(1):
        method = TSNE(perplexity=perplexity, init="pca", random_state=0)
        return np.asarray(method.fit_transform(features_NC.astype(np.float32)), np.float32)


def embedding_figure(
    evaluation: Evaluation, features: Sequence[NDArray[np.float32]]
) -> Figure | None:
    """Draw the labelled images by true label, wrong answers as crosses.

    None if fewer than `MIN_IMAGES` images have a label.

    Args:
        evaluation: its images are drawn.
        features: input of the classifier's last layer for each of these images.
    """
    known = [
        (vector_C, score.label, predicted_label(score, evaluation) != score.label)
        for vector_C, score in zip(features, evaluation.images, strict=True)
        if score.label is not None
    ]
    known = known[:: -(-len(known) // _MAX_IMAGES) or 1]
    if len(known) < MIN_IMAGES:
        return None
    places_N2 = tsne(np.stack([vector_C for vector_C, _, _ in known]))
    labels_N = np.array([label for _, label, _ in known])
    wrong_N = np.array([is_wrong for _, _, is_wrong in known])

    figure = plots.blank_figure(7.4, 5.4)
    axes = figure.add_subplot()
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[:].set_color("#C8C8C8")
    handles, texts = [], []
    for label in sorted(set(labels_N.tolist())):
        colour = plots.COLOURS[label % len(plots.COLOURS)]
        of_N = labels_N == label
        (x, y), (x_wrong, y_wrong) = places_N2[of_N & ~wrong_N].T, places_N2[of_N & wrong_N].T
        handles.append(axes.scatter(x, y, s=26, color=colour, alpha=0.8, linewidths=0))
        axes.scatter(x_wrong, y_wrong, s=34, color=colour, marker="x", linewidths=1.6)
        texts.append(f"{label_of(evaluation.labels, label)} ({int(of_N.sum())})")
    handles.append(axes.scatter([], [], s=34, color=plots.GREY, marker="x", linewidths=1.6))
    texts.append("answered wrongly")
    legend = axes.legend(handles, texts, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    title = f"t-SNE of the classifier's features\n{evaluation.title}"
    axes.set_title(title, fontsize=10, parse_math=False)
    note = "near is alike to the classifier; distances and sizes of groups mean nothing"
    axes.set_xlabel(note, fontsize=8.5)
    return figure

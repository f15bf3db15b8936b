"""Test-time views: how one photograph is looked at once, or several times as CKDNet's authors do.

"paper" is the procedure behind the authors' figures for ISIC 2017: five views for the labels,
their logits averaged, and six for the masks, their probabilities averaged. It costs eleven runs an
image and its scores must not be compared with those of "1", the plain view that a device runs. What
they do for ISIC 2018 alone (smoothing, the largest component, small probabilities set to 0) is left
out.

Suffixes: V views, H rows, W columns, S network side, C channels in RGB order, K classes.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.data.samples import Sample
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.evaluation.summary import Views
from ckd.train.feeding.augment import multi_scale_crop
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import FEATURES

Image = NDArray[np.uint8]
Real = NDArray[np.float32]
#: One image's logits by tensor name, as `ckd.train.evaluation.scoring.score_image` takes them, and
#: where the system computes them the classifier's features.
Answers = dict[str, Real]

#: Sides of the crops that the classifier is shown beside the whole photograph.
CROP_FRACTIONS = (0.2, 0.4, 0.6, 0.8)
#: Each mask view as (axis that is flipped, anticlockwise quarter turns), in the authors' order.
MASK_VIEWS: tuple[tuple[int | None, int], ...] = (
    (1, 0), (0, 0), (None, 1), (None, 2), (None, 3), (None, 0),
)  # fmt: skip

_THREADS = 4  # that decode; each holds one photograph at full size


def classification_views(
    image_HWC: Image, sample_id: str, side_px: int, settings: Augmentation
) -> Image:
    """The plain view and four random crops, flipped at random: uint8 [5, S, S, 3].

    The authors draw anew at every test, so their figures cannot be repeated to the last digit. Here
    the draw follows from ``sample_id``: an image has the same views in every run and on every
    machine. Of ``settings`` only what `multi_scale_crop` reads is used.
    """
    digest = hashlib.sha256(sample_id.encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    views = [network_image(image_HWC, side_px)]
    for fraction in CROP_FRACTIONS:
        crop = network_image(multi_scale_crop(image_HWC, fraction, settings, rng), side_px)
        vertical, horizontal = rng.random(2) < 0.5
        views.append(crop[:: -1 if vertical else 1, :: -1 if horizontal else 1])
    return np.stack(views)


def segmentation_views(image_SSC: Image) -> Image:
    """Two mirrorings and four quarter turns of an image at network size: uint8 [6, S, S, 3]."""
    return np.stack(
        [
            np.rot90(image_SSC if axis is None else np.flip(image_SSC, axis), turns)
            for axis, turns in MASK_VIEWS
        ]
    )


def undo_segmentation_views(maps_VHW: NDArray[Any]) -> NDArray[Any]:
    """Maps of the six views laid back onto the plain one; pixels are moved, never resampled."""
    turned = [
        np.rot90(map_HW, -turns) for map_HW, (_, turns) in zip(maps_VHW, MASK_VIEWS, strict=True)
    ]
    return np.stack(
        [
            map_HW if axis is None else np.flip(map_HW, axis)
            for map_HW, (axis, _) in zip(turned, MASK_VIEWS, strict=True)
        ]
    )


def averaged_margin(logits_VHW: Real, threshold: float = 0.5) -> Real:
    """Mean lesion probability over the six views, shifted so that a cut of logits cuts it rightly.

    Stands where logits do and is cut at logit(threshold) like them: it is the mean probability less
    the threshold, plus that cut. Enlarging and cutting it is enlarging the probability and cutting
    at the threshold, as published (at 0.5). The authors cut each view's probability to 8 bits
    before they average and round again after; here it stays in floating point up to the one cut.
    """
    margin_VHW = np.tanh(undo_segmentation_views(logits_VHW) / 2) / 2  # sigmoid - 0.5, no overflow
    shift = 0.5 - threshold + math.log(threshold / (1.0 - threshold))
    return np.asarray(margin_VHW.mean(axis=0) + shift, np.float32)


def answers(
    system: System,
    samples: Sequence[Sample],
    views: Views,
    settings: Augmentation,
    batch_size: int = 16,
) -> Iterator[tuple[Sample, Answers]]:
    """Each image's answers in turn, averaged over its views. Class maps are not among them.

    Args:
        system: in evaluation mode; run on the device that its weights lie on.
        samples: of which the images are read, ``batch_size`` ahead.
        views: "1" or "paper"; every answer is made of these and no others.
        settings: of the classifier's training crops, see `classification_views`.
        batch_size: images, or views of them, that go through the system together.

    Raises:
        InputError: an image that cannot be decoded.
    """
    side_px, outputs = system.image_size, system.outputs
    made = {name for node in system.nodes for name in node.outputs}
    label_names = [name for name in (outputs.class_logits, FEATURES) if name in made]
    mask_names = [n for n in (outputs.mask_logits, outputs.coarse_logits) if n is not None]

    def looked_at(sample: Sample) -> tuple[Image, Image]:
        """What the classifier and what the segmentation is shown."""
        image_HWC = read_rgb(sample.image)
        plain = network_image(image_HWC, side_px)
        if views == "1":
            return plain[None], plain[None]
        return (
            classification_views(image_HWC, sample.id, side_px, settings),
            segmentation_views(plain),
        )

    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(samples), batch_size):
            chunk = samples[start : start + batch_size]
            shown = list(pool.map(looked_at, chunk))
            for_labels = np.stack([pair[0] for pair in shown])
            if views == "1":
                found = _run(system, for_labels, [*label_names, *mask_names], batch_size)
                averaged = {name: per_view[:, 0] for name, per_view in found.items()}
            else:
                for_masks = np.stack([pair[1] for pair in shown])
                labels = _run(system, for_labels, label_names, batch_size)
                masks = _run(system, for_masks, mask_names, batch_size)
                averaged = {name: of_views.mean(axis=1) for name, of_views in labels.items()}
                for name, logits in masks.items():  # [N, V, 1, H, W]
                    averaged[name] = np.stack(
                        [averaged_margin(l_V1HW[:, 0], system.mask_threshold) for l_V1HW in logits]
                    )
                    averaged[name] = averaged[name][:, None]
            for index, sample in enumerate(chunk):
                yield sample, {name: answer[index] for name, answer in averaged.items()}


@torch.no_grad()
def _run(
    system: System, images_NVHWC: Image, wanted: Collection[str], batch_size: int
) -> dict[str, Real]:
    """The wanted tensors [N, V, ...] of all views of several images, some views at a time."""
    if not wanted:
        return {}
    num_images, num_views = images_NVHWC.shape[:2]
    device = next(system.parameters()).device
    flat = torch.from_numpy(images_NVHWC.reshape(-1, *images_NVHWC.shape[2:]))
    parts = []
    for batch in torch.split(flat, batch_size):
        tensors = system(batch.to(device), wanted)
        parts.append({name: tensors[name].float().cpu().numpy() for name in wanted})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in wanted}
    return {
        name: tensor.reshape(num_images, num_views, *tensor.shape[1:])
        for name, tensor in joined.items()
    }

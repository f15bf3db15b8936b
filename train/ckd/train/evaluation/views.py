"""Test-time views: one view of each photograph, or several as CKDNet's authors take.

"paper" is the procedure behind the authors' figures for ISIC 2017: the logits of five views are
averaged for the labels, and the probabilities of six views for the masks. It costs eleven runs per
image, and its scores must not be compared with those of "1", the plain view that a device runs.
The steps that the authors take for ISIC 2018 alone (smoothing, the largest component, small
probabilities set to 0) are left out.

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
#: One image's logits by tensor name, without batch axis, and also the classifier's features if the
#: system computes them.
Logits = dict[str, Real]

#: Sides of the crops that the classifier is shown besides the whole photograph, as a share of it.
CROP_FRACTIONS = (0.2, 0.4, 0.6, 0.8)
#: Each mask view as (axis that is flipped, anticlockwise quarter turns), in the authors' order.
MASK_VIEWS: tuple[tuple[int | None, int], ...] = (
    (1, 0), (0, 0), (None, 1), (None, 2), (None, 3), (None, 0),
)  # fmt: skip

_THREADS = 4  # they decode; each holds one photograph at full size


def classification_views(
    image_HWC: Image, sample_id: str, side_px: int, settings: Augmentation
) -> Image:
    """The plain view and four random crops, flipped at random: uint8 [5, S, S, 3].

    The authors draw new crops at every test, so their figures cannot be repeated to the last digit.
    Here ``sample_id`` seeds the draw: an image has the same views in every run and on every
    machine. Only those of the ``settings`` that `multi_scale_crop` reads are used.
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
    """Maps of the six views in the orientation of the plain view; pixels are never resampled."""
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
    """Mean lesion probability over the six views, shifted so that it can take the place of logits.

    Logits are cut at logit(threshold). The result is the mean probability minus the threshold plus
    that cut, so that enlarging and cutting it equals enlarging the probability and cutting it at
    the threshold, as published (at 0.5). The authors truncate each view's probability to 8 bits
    before they average, and round again afterwards; here it stays in floating point until the cut.
    """
    margin_VHW = np.tanh(undo_segmentation_views(logits_VHW) / 2) / 2  # sigmoid - 0.5, no overflow
    shift = 0.5 - threshold + math.log(threshold / (1.0 - threshold))
    return np.asarray(margin_VHW.mean(axis=0) + shift, np.float32)


def image_logits(
    system: System,
    samples: Sequence[Sample],
    views: Views,
    settings: Augmentation,
    batch_size: int = 16,
) -> Iterator[tuple[Sample, Logits]]:
    """Each sample with its image's logits, averaged over the views. Class maps are not computed.

    Args:
        system: in evaluation mode; it runs on the device that its weights lie on.
        samples: their images are read ``batch_size`` at a time.
        views: "1" or "paper".
        settings: of the classifier's training crops, see `classification_views`.
        batch_size: images, or views of them, that go through the system together.

    Raises:
        InputError: an image that cannot be decoded.
    """
    side_px, outputs = system.image_size, system.outputs
    computed = {name for node in system.nodes for name in node.outputs}
    label_names = [name for name in (outputs.class_logits, FEATURES) if name in computed]
    mask_names = [n for n in (outputs.mask_logits, outputs.coarse_logits) if n is not None]

    def views_of(sample: Sample) -> tuple[Image, Image]:
        """The views for the classifier and those for the segmentation."""
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
            pairs = list(pool.map(views_of, chunk))
            for_labels = np.stack([pair[0] for pair in pairs])
            if views == "1":
                tensors = _run(system, for_labels, [*label_names, *mask_names], batch_size)
                averaged = {name: per_view[:, 0] for name, per_view in tensors.items()}
            else:
                for_masks = np.stack([pair[1] for pair in pairs])
                labels = _run(system, for_labels, label_names, batch_size)
                masks = _run(system, for_masks, mask_names, batch_size)
                averaged = {name: per_view.mean(axis=1) for name, per_view in labels.items()}
                for name, per_view in masks.items():  # [N, V, 1, H, W]
                    margins = [averaged_margin(x[:, 0], system.mask_threshold) for x in per_view]
                    averaged[name] = np.stack(margins)[:, None]
            for row, sample in enumerate(chunk):
                yield sample, {name: logits[row] for name, logits in averaged.items()}


@torch.no_grad()
def _run(
    system: System, images_NVHWC: Image, names: Collection[str], batch_size: int
) -> dict[str, Real]:
    """The named tensors [N, V, ...] of all views of N images, ``batch_size`` views at a time."""
    if not names:
        return {}
    num_images, num_views = images_NVHWC.shape[:2]
    device = next(system.parameters()).device
    flat = torch.from_numpy(images_NVHWC.reshape(-1, *images_NVHWC.shape[2:]))
    parts = []
    for batch in torch.split(flat, batch_size):
        tensors = system(batch.to(device), names)
        parts.append({name: tensors[name].float().cpu().numpy() for name in names})
    joined = {name: np.concatenate([part[name] for part in parts]) for name in names}
    return {
        name: tensor.reshape(num_images, num_views, *tensor.shape[1:])
        for name, tensor in joined.items()
    }

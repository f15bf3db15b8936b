"""Samples as tensors, in an order that is the same on every machine, process and restart.

A batch is drawn as (epoch, index) pairs and each pair seeds its own generator, so nothing depends
on how many workers load it or how many processes share it.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ckd.contract.errors import InputError
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.feeding.augment import Image, augment, multi_scale_crop
from ckd.train.feeding.augmentation import Augmentation


class TrainingViews(Dataset[dict[str, Tensor]]):
    """Augmented views of each sample, addressed by (epoch, index).

    An item holds ``image`` uint8 [V, S, S, 3], ``index`` and ``turn`` [V] (quarter turns of each
    view), and where needed ``mask`` float [V, 1, S, S] and ``label`` int64 [V]. V is 1, four for
    turned views, or one plus the number of multi-scale crops.
    """

    def __init__(
        self,
        samples: SampleSet,
        settings: Augmentation,
        side_px: int,
        seed: int,
        needs: Collection[str],
    ) -> None:
        self.samples = samples.samples
        self.settings = settings
        self.side_px = side_px
        self.seed = seed
        self.needs = needs

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        sample = self.samples[index]
        image_HWC = read_rgb(sample.image)
        turns, item = [0], dict[str, Tensor]()
        if "mask" in self.needs:
            assert sample.mask is not None
            mask_HW = read_mask(sample.mask, image_HWC.shape)
            view, seen = augment(image_HWC, mask_HW, self.settings, self.side_px, rng)
            assert seen is not None
            views = [view]
            item["mask"] = torch.from_numpy(seen.astype(np.float32))[None, None]
        else:
            views = self._views(image_HWC, rng)
            turns = list(range(4)) if self.settings.turned_views else [0] * len(views)
        if "label" in self.needs:
            item["label"] = torch.full((len(views),), _label(sample))
        return item | {
            "image": torch.from_numpy(np.stack(views)),
            "index": torch.full((len(views),), index),
            "turn": torch.tensor(turns),
        }

    def _views(self, image_HWC: Image, rng: np.random.Generator) -> list[Image]:
        settings = self.settings
        if settings.crop_scales:
            crops = [multi_scale_crop(image_HWC, f, settings, rng) for f in settings.crop_scales]
            augmented = [augment(crop, None, settings, self.side_px, rng)[0] for crop in crops]
            return [network_image(image_HWC, self.side_px), *augmented]  # one plain, as published
        turns = range(4 if settings.turned_views else 1)
        turned = [np.ascontiguousarray(np.rot90(image_HWC, turn)) for turn in turns]
        return [augment(view, None, settings, self.side_px, rng)[0] for view in turned]


class EpochBatches:
    """Batches of (epoch, index) for one process, every sample in exactly one batch of an epoch.

    All processes see the same number of batches (collective operations would hang otherwise): each
    global batch is dealt out in turn, and a last one too small to give everybody two samples joins
    the one before.
    """

    def __init__(
        self, num_samples: int, batch_size: int, epoch: int, seed: int, rank: int, world: int
    ) -> None:
        order = np.random.default_rng((seed, epoch, 0xB47C)).permutation(num_samples)
        whole = batch_size * world
        cuts = list(range(whole, num_samples, whole))
        if cuts and num_samples - cuts[-1] < 2 * world:
            cuts.pop()
        self.batches = [
            [(epoch, int(index)) for index in batch[rank::world]] for batch in np.split(order, cuts)
        ]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def training_loader(
    views: TrainingViews, batches: EpochBatches, num_workers: int
) -> DataLoader[dict[str, Tensor]]:
    """Loader of one epoch; views of an item are laid out along the batch."""
    return DataLoader(
        views,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_concatenate,
        # Forking after threads have started can deadlock; a fork server has none.
        multiprocessing_context="forkserver" if num_workers else None,
        persistent_workers=False,
        generator=torch.Generator(),  # its draw must not shift the networks' dropout
    )


def drop_unreadable(
    samples: SampleSet, progress: Callable[[int, int], None] | None = None
) -> tuple[SampleSet, list[str]]:
    """Leave out files that cannot be decoded, and say which: before the first epoch, not in it.

    ``progress`` is told (done, total).
    """

    def problem(sample: Sample) -> str | None:
        try:
            image_HWC = read_rgb(sample.image)
            if sample.mask is not None:
                read_mask(sample.mask, image_HWC.shape)
        except InputError as error:
            return str(error)
        return None

    problems: dict[Sample, str | None] = {}
    with ThreadPoolExecutor() as pool:
        for sample, found in zip(samples.samples, pool.map(problem, samples.samples), strict=True):
            problems[sample] = found
            if progress is not None:
                progress(len(problems), len(samples))
    return (
        samples.only(lambda sample: problems[sample] is None),
        [message for message in problems.values() if message],
    )


def _concatenate(items: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


def _label(sample: Sample) -> int:
    assert sample.label is not None
    return sample.label

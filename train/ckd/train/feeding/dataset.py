"""Samples as tensors, in an order that is the same on every machine, in every process and restart.

A batch consists of (epoch, index) pairs, and each pair seeds a generator of its own. So the number
of workers that load a batch and of processes that share it makes no difference.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ckd.console.progress import Progress
from ckd.contract.errors import InputError
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.feeding.augment import Image, augment, multi_scale_crop
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.feeding.workers import end_if_nothing_can_be_handed_over


class TrainingViews(Dataset[dict[str, Tensor]]):
    """Augmented views of each sample, addressed by (epoch, index).

    An item holds ``image`` uint8 [V, S, S, 3], ``index`` and ``turn`` [V] (quarter turns of each
    view), and if needed ``mask`` float [V, 1, S, S] and ``label`` int64 [V]. V is 1, or 4 for
    turned views, or 1 plus the number of multi-scale crops.
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
            view, view_mask = augment(image_HWC, mask_HW, self.settings, self.side_px, rng)
            assert view_mask is not None
            views = [view]
            item["mask"] = torch.from_numpy(view_mask.astype(np.float32))[None, None]
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
            return [
                network_image(image_HWC, self.side_px),
                *augmented,
            ]  # the first is plain, as published
        turns = range(4 if settings.turned_views else 1)
        turned = [np.ascontiguousarray(np.rot90(image_HWC, turn)) for turn in turns]
        return [augment(view, None, settings, self.side_px, rng)[0] for view in turned]


class EpochBatches:
    """Batches of (epoch, index) for one process; each sample is in exactly one batch of an epoch.

    All processes get the same number of batches, because collective operations would hang
    otherwise. Each global batch is dealt out to the processes in turn. If the last one is too small
    to give each process two samples, it is joined to the one before.
    """

    def __init__(
        self, num_samples: int, batch_size: int, epoch: int, seed: int, rank: int, world: int
    ) -> None:
        order = np.random.default_rng((seed, epoch, 0xB47C)).permutation(num_samples)
        global_size = batch_size * world
        cuts = list(range(global_size, num_samples, global_size))
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
    """Loader of one epoch; the views of an item are rows of the batch."""
    return DataLoader(
        views,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=_concatenate,
        # Forking after threads have started can deadlock; a fork server has no threads.
        multiprocessing_context="forkserver" if num_workers else None,
        persistent_workers=False,
        worker_init_fn=end_if_nothing_can_be_handed_over,
        generator=torch.Generator(),  # its draws must not shift those of the networks' dropout
    )


def drop_unreadable(
    samples: SampleSet, progress: Progress | None = None
) -> tuple[SampleSet, list[str]]:
    """The samples whose files can be decoded, and messages about the others.

    It is called before the first epoch, so that no training ends in the middle of one.
    ``progress`` is called with the number of samples done and of all.
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
        messages = pool.map(problem, samples.samples)
        for sample, message in zip(samples.samples, messages, strict=True):
            problems[sample] = message
            if progress is not None:
                progress(len(problems), len(samples))
    return (
        replace(samples, samples=tuple(s for s in samples.samples if problems[s] is None)),
        [message for message in problems.values() if message],
    )


def _concatenate(items: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


def _label(sample: Sample) -> int:
    assert sample.label is not None
    return sample.label

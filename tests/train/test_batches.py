"""Batches and views: which images an epoch shows, in what order, and how they are changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ckd.data.layouts import read_split
from ckd.data.samples import Sample, SampleSet
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.feeding.dataset import EpochBatches, TrainingViews, training_loader

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns


def test_batches_deal_every_sample_out_exactly_once() -> None:
    for world in (1, 2, 3, 4):
        for batch_size in (1, 2, 3, 8):
            for num_samples in range(2 * world, 45):
                ranks = [
                    EpochBatches(num_samples, batch_size, 5, 0, rank, world).batches
                    for rank in range(world)
                ]
                what = f"{num_samples} samples, batches of {batch_size}, {world} processes"
                seen = [key for batches in ranks for batch in batches for key in batch]
                assert sorted(seen) == [(5, i) for i in range(num_samples)], what
                assert len({len(batches) for batches in ranks}) == 1, what
                smallest = min(len(batch) for batches in ranks for batch in batches)
                # One image has no batch statistics; a last batch never forces it on a process.
                assert smallest >= min(batch_size, 2), what
                largest = max(len(batch) for batches in ranks for batch in batches)
                assert largest <= batch_size + 2, what


def test_batches_differ_between_epochs_and_seeds_alone() -> None:
    def order(epoch: int, seed: int) -> list[int]:
        return [i for batch in EpochBatches(40, 8, epoch, seed, 0, 1) for _, i in batch]

    assert order(3, 1) == order(3, 1)
    assert order(3, 1) != order(4, 1)
    assert order(3, 1) != order(3, 2)


def test_processes_share_the_batch_that_one_would_have() -> None:
    # Twice the processes at half the batch: the same images make each step.
    for num_samples in (16, 17, 19, 20, 23):
        whole = EpochBatches(num_samples, 8, 0, 0, 0, 1).batches
        halves = [EpochBatches(num_samples, 4, 0, 0, rank, 2).batches for rank in (0, 1)]
        if num_samples % 8 in (2, 3):
            continue  # one process keeps a remainder that two would have to split too finely
        for batch, *parts in zip(whole, *halves, strict=True):
            assert sorted(batch) == sorted(parts[0] + parts[1])


def views_of(samples: SampleSet, target: str, **settings: Any) -> TrainingViews:
    return TrainingViews(samples, Augmentation(**settings), 64, seed=3, needs={target})


def test_a_view_depends_on_epoch_and_index_alone(runs: "TrainingRuns") -> None:
    samples = read_split(runs.data, "train")
    first, again = (views_of(samples, "mask", colour="strong") for _ in range(2))
    again[0, 2], again[5, 1]  # drawn between, and by another process as it were
    for key in ("image", "mask", "index"):
        assert torch.equal(first[4, 2][key], again[4, 2][key])
    assert not torch.equal(first[4, 2]["image"], first[5, 2]["image"])


def test_a_mask_moves_with_its_image(tmp_path: Path) -> None:
    mask_HW = np.zeros((90, 120), np.uint8)
    mask_HW[20:50, 10:70] = 255
    Image.fromarray(mask_HW).save(tmp_path / "mask.png")
    Image.fromarray(mask_HW).convert("RGB").save(tmp_path / "image.png")
    sample = Sample("a", tmp_path / "image.png", tmp_path / "mask.png", 0)
    views = views_of(SampleSet("s", "train", ("A",), (sample,)), "mask", colour="none")
    areas = set()
    for epoch in range(10):
        item = views[epoch, 0]
        seen_HW = item["image"][0, ..., 0] >= 128
        # Equal but where half a grey value rounds the other way.
        assert (seen_HW != (item["mask"][0, 0] == 1)).float().mean() < 0.005
        areas.add(int(seen_HW.sum()))
    assert len(areas) > 5


def test_views_of_an_image_lie_along_the_batch(runs: "TrainingRuns") -> None:
    samples = read_split(runs.data, "train")
    views = views_of(samples, "label", crop_scales=(0.25, 0.5), crop_margin_px=10)
    loader = training_loader(views, EpochBatches(runs.num_train, 4, 0, 0, 0, 1), num_workers=0)
    batches = list(loader)
    assert [len(batch["image"]) for batch in batches] == [12, 12, 6]
    for batch in batches:
        assert batch["image"].shape[1:] == (64, 64, 3)
        assert batch["image"].dtype == torch.uint8
        expected = [samples.samples[int(i)].label for i in batch["index"]]
        assert batch["label"].tolist() == expected
        first, second, third = batch["index"].view(-1, 3).T
        assert torch.equal(first, second)
        assert torch.equal(second, third)
        for view, index in zip(batch["image"][::3], first, strict=True):
            plain_HWC = network_image(read_rgb(samples.samples[int(index)].image), 64)
            assert np.array_equal(view.numpy(), plain_HWC)

"""Test-time views: repeatable, exactly undone, and averaged as the paper's procedure says."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ckd.contract.errors import InputError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.data.samples import Sample
from ckd.data.synthetic.write import dermoscopy
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.evaluation.views import (
    CROP_FRACTIONS,
    averaged_margin,
    classification_views,
    image_logits,
    segmentation_views,
    undo_segmentation_views,
)
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.systems.graph import Node, System

PHOTOGRAPH = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
SETTINGS = Augmentation(crop_margin_px=40)


class Probe(nn.Module):
    """Answers that depend on where things are, so that a view laid back wrongly shows."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.place = nn.Parameter(torch.randn(1, 3, 32, 32, generator=generator))

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        mask = 3 * (image_BCHW * self.place).sum(dim=1, keepdim=True)
        coarse = nn.functional.avg_pool2d(mask, 4)
        return mask[:, 0, 5:8, 9], mask, coarse


@pytest.fixture(scope="module")
def system() -> System:
    results = OutputSpec("logits", "mask_logits", "coarse_logits", coarse_align_corners=True)
    node = Node("probe", Probe(), (IMAGE,), ("logits", "mask_logits", "coarse_logits"))
    return System("probe", (node,), ("A", "B", "C"), ("A",), 32, results).eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(5):
        case = dermoscopy(number, 64)
        Image.fromarray(case.image_HWC[: 40 + 4 * number]).save(folder / f"{number}.png")
    return [Sample(path.stem, path, path) for path in sorted(folder.iterdir())]


def test_classification_views_follow_from_the_id() -> None:
    views = classification_views(PHOTOGRAPH, "ISIC_1", 32, SETTINGS)
    assert views.shape == (5, 32, 32, 3)
    assert views.dtype == np.uint8
    assert np.array_equal(views, classification_views(PHOTOGRAPH, "ISIC_1", 32, SETTINGS))
    other = classification_views(PHOTOGRAPH, "ISIC_2", 32, SETTINGS)
    assert np.array_equal(views[0], other[0])
    assert not any(np.array_equal(views[v], other[v]) for v in range(1, 5))


def test_the_plain_view_comes_first_and_the_others_are_crops_of_each_scale() -> None:
    # Pixels that name their own row and column tell where a view was cut out.
    rows, columns = np.meshgrid(np.arange(200), np.arange(250), indexing="ij")
    places = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    for number in range(8):
        views = classification_views(places, str(number), 40, SETTINGS)
        assert np.array_equal(views[0], network_image(places, 40))
        for view, fraction in zip(views[1:], CROP_FRACTIONS, strict=True):
            for axis, side in enumerate((200, 250)):
                seen = view[..., axis].astype(int)
                assert np.ptp(seen) == pytest.approx(fraction * side, abs=0.1 * side)
                margin = fraction * SETTINGS.crop_margin_px / 2
                off_centre = abs((seen.max() + seen.min()) / 2 - side / 2)
                assert off_centre <= margin + 2


def test_flips_of_classification_views_are_drawn() -> None:
    settings = Augmentation(crop_margin_px=0)  # leaves the crop no place but the centre
    seen = set()
    for number in range(30):
        view = classification_views(PHOTOGRAPH, str(number), 32, settings)[2]
        crop = network_image(PHOTOGRAPH[27 : 27 + 36, 36 : 36 + 48], 32)
        flips = [crop, crop[::-1], crop[:, ::-1], crop[::-1, ::-1]]
        matches = [index for index, flip in enumerate(flips) if np.array_equal(view, flip)]
        assert len(matches) == 1
        seen |= set(matches)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("side", [16, 33])
def test_segmentation_views_are_undone_exactly(side: int) -> None:
    image = network_image(PHOTOGRAPH, side)
    views = segmentation_views(image)
    assert len({view.tobytes() for view in views}) == 6
    assert np.array_equal(views[0], image[:, ::-1])
    assert np.array_equal(views[1], image[::-1])
    assert np.array_equal(views[5], image)
    for channel in range(3):
        undone = undo_segmentation_views(views[..., channel])
        assert all(np.array_equal(plain, image[..., channel]) for plain in undone)


def test_probabilities_are_averaged_not_logits() -> None:
    logits = np.zeros((6, 2, 2), np.float32)
    logits[:2], logits[2:] = 1000.0, -1.0  # two views are sure, four doubt
    expected = (2 * 1.0 + 4 / (1 + np.exp(1.0))) / 6 - 0.5
    np.testing.assert_allclose(averaged_margin(logits), expected, rtol=1e-5)
    assert averaged_margin(-1000 * np.ones((6, 2, 2), np.float32)).max() == -0.5


def test_a_single_view_is_what_the_system_answers(system: System, samples: list[Sample]) -> None:
    for sample, logits in image_logits(system, samples, "1", SETTINGS, batch_size=2):
        plain = network_image(read_rgb(sample.image), 32)
        with torch.no_grad():
            expected = system(torch.from_numpy(plain)[None])
        assert set(logits) == {"logits", "mask_logits", "coarse_logits"}
        for name, value in logits.items():
            np.testing.assert_allclose(value, expected[name][0].numpy(), atol=1e-5)


def test_paper_views_are_averaged_as_published(system: System, samples: list[Sample]) -> None:
    undo: list[Callable[[NDArray[np.float32]], NDArray[np.float32]]] = [
        lambda m: m[:, ::-1],
        lambda m: m[::-1],
        lambda m: np.rot90(m, 3),
        lambda m: np.rot90(m, 2),
        lambda m: np.rot90(m),
        lambda m: m,
    ]
    for sample, logits in image_logits(system, samples, "paper", SETTINGS):
        image = read_rgb(sample.image)
        plain = network_image(image, 32)
        turned = [plain[:, ::-1], plain[::-1], *(np.rot90(plain, k) for k in (1, 2, 3, 0))]
        with torch.no_grad():
            five = system(torch.from_numpy(classification_views(image, sample.id, 32, SETTINGS)))
            six = system(torch.from_numpy(np.stack(turned)))
        np.testing.assert_allclose(logits["logits"], five["logits"].mean(dim=0), atol=1e-4)
        for name in ("mask_logits", "coarse_logits"):
            probabilities = torch.sigmoid(six[name][:, 0]).numpy()
            laid_back = [back(p) for back, p in zip(undo, probabilities, strict=True)]
            expected = np.mean(laid_back, axis=0) - 0.5
            np.testing.assert_allclose(logits[name][0], expected, atol=1e-5)


def test_answers_do_not_depend_on_the_batches(system: System, samples: list[Sample]) -> None:
    few, many = (
        [a for _, a in image_logits(system, samples, "paper", SETTINGS, batch_size=size)]
        for size in (2, 64)
    )
    for one, other in zip(few, many, strict=True):
        for name in one:
            np.testing.assert_allclose(one[name], other[name], atol=1e-4)


def test_a_system_without_masks_is_answered_for_labels_alone(
    system: System, samples: list[Sample]
) -> None:
    narrow = System("probe", system.nodes, system.labels, (), 32, OutputSpec("logits")).eval()
    for _, logits in image_logits(narrow, samples[:1], "paper", SETTINGS):
        assert set(logits) == {"logits"}


def test_an_unreadable_photograph_is_named(system: System, tmp_path: Path) -> None:
    missing = Sample("gone", tmp_path / "gone.png", label=0)
    with pytest.raises(InputError, match=r"gone\.png"):
        list(image_logits(system, [missing], "1", SETTINGS))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.68])
def test_the_averaged_margin_is_cut_where_the_probability_is(threshold: float) -> None:
    above_V = np.full((6, 2, 2), np.log((threshold + 0.01) / (1 - threshold - 0.01)), np.float32)
    below_V = np.full((6, 2, 2), np.log((threshold - 0.01) / (1 - threshold + 0.01)), np.float32)
    cut = np.log(threshold / (1 - threshold))
    assert (averaged_margin(above_V, threshold) > cut).all()
    assert (averaged_margin(below_V, threshold) < cut).all()

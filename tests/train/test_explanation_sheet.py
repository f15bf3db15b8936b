"""What evaluation shows of a classifier's reasons: the sheet of explanations, and t-SNE.

Suffixes: N images, C features.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ckd.contract.labels import ISIC2019
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.scores.images import ImageScore
from ckd.train.evaluation import plots
from ckd.train.evaluation.embedding import MIN_IMAGES, embedding_figure, tsne
from ckd.train.evaluation.evaluate import evaluate
from ckd.train.evaluation.explanation_sheet import explanation_sheet, images_to_explain
from ckd.train.evaluation.summary import Evaluation
from ckd.train.networks.blocks import ClassHead
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems import rewrite
from ckd.train.systems.graph import Node, System

RECIPE = ckdnet_tiny()
LABELS = ("MEL", "SBK", "NEV")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These sums are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Colours(torch.nn.Module):
    """Classifies by the photograph's colours; its maps are 8 x 8."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 4, stride=4)
        self.classify = ClassHead((6,), len(LABELS))
        self.classify.fc.weight.data.mul_(scale)

    def forward(self, image_BCHW: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.classify(torch.relu(self.conv(image_BCHW))))


@pytest.fixture
def system() -> System:
    torch.manual_seed(0)
    node = Node("net", Colours(5.0), (IMAGE,), ("logits",))
    return System("toy", (node,), LABELS, ("MEL",), 32, OutputSpec("logits")).eval()


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    root = tmp_path_factory.mktemp("isic2017")
    write_isic2017(root, num_train=1, num_val=MIN_IMAGES + 1, side_px=48)
    return read_split(root, "val")


def test_a_classifier_alone_is_explained_and_embedded(
    system: System, val: SampleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = evaluate(RECIPE, system, val, tmp_path, views="1")
    expected = {"scores.json", "per_image.csv", "roc.png", "precision_recall.png"}
    expected |= {"worst_cases.png", "explanations.png", "tsne.png"}
    assert {path.name for path in tmp_path.iterdir()} == expected
    for name in ("explanations.png", "tsne.png"):
        with Image.open(tmp_path / name) as figure:
            assert min(figure.size) > 500
            assert np.ptp(np.asarray(figure.convert("HSV"))[..., 1]) > 150  # there are colours
    # The system itself is left as it was.
    assert result.weights == system.digest()
    assert system.outputs.class_map is None
    assert len(system(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))["logits"][0]) == 3
    assert json.loads((tmp_path / "scores.json").read_text())["weights"] == system.digest()
    # Of fewer images there is no t-SNE, nor one left behind.
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi=0: path.touch())
    few = replace(val, samples=val.samples[: MIN_IMAGES - 1])
    evaluate(RECIPE, system, few, tmp_path, views="1")
    assert not (tmp_path / "tsne.png").exists()
    assert (tmp_path / "explanations.png").exists()


@pytest.mark.parametrize("views", ["1", "paper"])
def test_features_give_the_logits_that_were_scored(
    system: System, val: SampleSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: Any
) -> None:
    given: list[np.ndarray] = []

    def keep(evaluation: Evaluation, features: list[np.ndarray]) -> None:
        given.extend(features)

    monkeypatch.setattr("ckd.train.evaluation.evaluate.embedding_figure", keep)
    monkeypatch.setattr(plots, "save", lambda figure, path, dpi=0: path.touch())
    evaluate(RECIPE, system, val, tmp_path, views=views)
    head = rewrite.class_head(system)
    assert head is not None
    with torch.no_grad():
        logits = head.fc(torch.from_numpy(np.stack(given)))
    with (tmp_path / "per_image.csv").open(newline="") as file:
        rows = [[float(row[label]) for label in LABELS] for row in csv.DictReader(file)]
    assert np.ptp(rows, axis=0).max() > 0.1
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), rows, atol=1e-5)


def test_a_system_without_a_class_head_has_neither(val: SampleSet, tmp_path: Path) -> None:
    class Masks(torch.nn.Module):
        def forward(self, image_BCHW: torch.Tensor) -> torch.Tensor:
            return image_BCHW.mean(dim=1, keepdim=True)

    node = Node("net", Masks(), (IMAGE,), ("mask_logits",))
    outputs = OutputSpec(mask_logits="mask_logits")
    system = System("toy", (node,), LABELS, (), 32, outputs).eval()
    # Where weights lie tells the device; this one has none of its own.
    system.register_parameter("anchor", torch.nn.Parameter(torch.zeros(1)))
    evaluate(RECIPE, system, val, tmp_path, views="1")
    names = {path.name for path in tmp_path.iterdir()}
    assert "worst_cases.png" in names
    assert not names & {"explanations.png", "tsne.png"}


def evaluation(images: list[ImageScore], *, exclusive: bool = True) -> Evaluation:
    return Evaluation(
        recipe="toy",
        weights="",
        dataset="toy",
        split="val",
        views="1",
        mask_threshold=0.5,
        labels=LABELS,
        exclusive=exclusive,
        images=tuple(images),
        fine=None,
        coarse=None,
        classification=None,
        intervals={},
    )


def test_the_most_wrong_come_first_and_every_label_has_its_turn() -> None:
    images = [
        ImageScore(f"{name}{n}", probabilities=probabilities, label=label)
        for n in range(8)
        for name, probabilities, label in (
            ("mel", (0.9 - n / 100, 0.05, 0.05 + n / 100), 0),
            ("nev", (0.1, 0.1 + n / 100, 0.8 - n / 100), 2),
            ("missed", (0.2 - n / 100, 0.1, 0.7 + n / 100), 0),
        )
    ]
    images.append(ImageScore("unknown", probabilities=(1.0, 0.0, 0.0)))
    wrong, right = images_to_explain(evaluation(images)).values()
    assert [score.id for score in wrong] == [f"missed{n}" for n in (7, 6, 5, 4, 3, 2)]
    assert [score.id for score in right] == ["mel0", "nev0", "mel1", "nev1", "mel2", "nev2"]
    only_right = [score for score in images if "missed" not in score.id]
    (heading,) = images_to_explain(evaluation(only_right))
    assert heading.startswith("Right")
    assert images_to_explain(evaluation(images[-1:])) == {}
    # Where labels do not exclude each other, none of them may be right.
    none = ImageScore("none", probabilities=(0.2, 0.3, 0.1), label=3)
    ((heading, scores),) = images_to_explain(evaluation([none], exclusive=False)).items()
    assert (heading[:5], scores) == ("Right", [none])


def test_a_long_title_leaves_the_legend_room() -> None:
    score = ImageScore("mel", probabilities=(0.9, 0.05, 0.05), label=0)
    dataset = "generated (isic2017 layout), split by image"
    titled = replace(evaluation([score]), recipe="ckdnet-mobile-distilled", dataset=dataset)
    picture = np.zeros((8, 8, 3), np.uint8)
    sheet = explanation_sheet(titled, {"mel": picture}, {"mel": (picture, picture)})
    sheet.draw_without_rendering()
    head = sheet.subfigs[0]
    (title,), (legend,) = head.texts, head.legends
    assert title.get_window_extent().x1 < legend.get_window_extent().x0
    assert title.get_window_extent().y1 < sheet.bbox.y1


def groups(count: int, num_features: int = 12) -> tuple[np.ndarray, list[ImageScore]]:
    """Three groups of features, far from each other, and an answer to each."""
    rng = np.random.default_rng(0)
    labels = [n % 3 for n in range(count)]
    centres = 20.0 * np.eye(num_features)[:3]
    features_NC = centres[labels] + rng.normal(size=(count, num_features))
    said = [
        (0.1, 0.1, 0.8) if n == 0 else tuple(np.eye(3)[label]) for n, label in enumerate(labels)
    ]
    images = [
        ImageScore(str(n), probabilities=said[n], label=label) for n, label in enumerate(labels)
    ]
    return features_NC.astype(np.float32), images


def test_groups_stay_groups_and_the_same_comes_out_again() -> None:
    features_NC, images = groups(45)
    places_N2 = tsne(features_NC)
    np.testing.assert_array_equal(tsne(features_NC), places_N2)
    labels_N = np.array([score.label for score in images])
    distances_NN = np.linalg.norm(places_N2[:, None] - places_N2[None], axis=2)
    np.fill_diagonal(distances_NN, np.inf)
    assert (labels_N[distances_NN.argmin(axis=1)] == labels_N).all()


def test_the_figure_shows_labelled_images_only_and_crosses_wrong_answers() -> None:
    features_NC, images = groups(MIN_IMAGES + 4)
    images[3] = replace(images[3], label=None)
    figure = embedding_figure(evaluation(images), list(features_NC))
    assert figure is not None
    (axes,) = figure.axes
    drawn = [len(np.asarray(points.get_offsets())) for points in axes.collections]
    assert sum(drawn) == MIN_IMAGES + 3
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["MEL (7)", "SBK (8)", "NEV (8)", "answered wrongly"]
    assert drawn[:2] == [6, 1]  # of MEL: right, then wrong
    few = [replace(s, label=None) if int(s.id) >= MIN_IMAGES - 1 else s for s in images]
    assert embedding_figure(evaluation(few), list(features_NC)) is None


def test_each_label_of_isic2019_has_a_colour_of_its_own() -> None:
    features_NC, images = groups(MIN_IMAGES + 4)
    images = [
        replace(score, probabilities=tuple(np.eye(8)[n % 8]), label=n % 8)
        for n, score in enumerate(images)
    ]
    figure = embedding_figure(replace(evaluation(images), labels=ISIC2019), list(features_NC))
    assert figure is not None
    # Two of each label: right answers, of which all are, and wrong ones.
    right = figure.axes[0].collections[:-1:2]
    assert len({tuple(np.asarray(points.get_facecolor())[0, :3]) for points in right}) == 8

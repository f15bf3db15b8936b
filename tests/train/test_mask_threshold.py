import json
from pathlib import Path

import pytest

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.finding.logits import mask_from_logits
from ckd.scores.images import mask_scores
from ckd.train.evaluation.mask_threshold import (
    GRID_T,
    MASK_THRESHOLD,
    choose_mask_threshold,
    load_mask_threshold,
)
from ckd.train.evaluation.scoring import score_image
from ckd.train.evaluation.views import image_logits
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems.graph import System


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> SampleSet:
    data = tmp_path_factory.mktemp("data")
    write_isic2017(data, num_train=4, num_val=1, side_px=64)
    return read_split(data, "train")


@pytest.fixture(scope="module")
def choice(samples: SampleSet, tmp_path_factory: pytest.TempPathFactory) -> tuple[System, Path]:
    """A system, and the file that says which threshold was chosen for it."""
    recipe, path = ckdnet_tiny(), tmp_path_factory.mktemp("run") / MASK_THRESHOLD
    system = recipe.system.build(samples.labels, recipe.tasks, 64, None).eval()
    assert choose_mask_threshold(system, samples, path) == system.mask_threshold
    return system, path


def test_the_chosen_threshold_is_the_best_of_the_grid_and_is_used(
    samples: SampleSet, choice: tuple[System, Path]
) -> None:
    system, path = choice
    chosen = system.mask_threshold
    assert load_mask_threshold(path, system) == chosen
    settings = ckdnet_tiny().trained[0].augmentation
    images = [logits for _, logits in image_logits(system, samples.samples, "1", settings)]
    name = system.outputs.mask_logits
    assert name is not None
    means = []
    for threshold in GRID_T:
        overlaps = []
        for sample, logits in zip(samples.samples, images, strict=True):
            assert sample.mask is not None
            truth_HW = read_mask(sample.mask)
            mask_HW = mask_from_logits(logits[name][0], *truth_HW.shape, threshold=threshold)
            overlaps.append(confusion_from_masks(mask_HW, truth_HW).jaccard)
        means.append(sum(overlaps) / len(overlaps))
    # Batches of one and of four round differently; a pixel at the cut may fall either way.
    assert means[GRID_T.index(chosen)] == pytest.approx(max(means), abs=2e-3)
    scores = [
        score_image(system, logits, s) for s, logits in zip(samples.samples, images, strict=True)
    ]
    overall = mask_scores(scores)
    assert overall is not None
    assert overall.jaccard == pytest.approx(means[GRID_T.index(chosen)], abs=1e-9)


@pytest.fixture(scope="module")
def any_system() -> System:
    recipe = ckdnet_tiny()
    return recipe.system.build(("MEL", "SBK", "NEV"), recipe.tasks, 64, None)


def test_without_a_choice_masks_are_cut_at_one_half(tmp_path: Path, any_system: System) -> None:
    assert load_mask_threshold(tmp_path / MASK_THRESHOLD, any_system) == 0.5


def test_a_choice_is_read_under_the_name_that_it_had_first(
    tmp_path: Path, any_system: System
) -> None:
    record = {"mask_threshold": 0.6, "weights": any_system.digest()}
    (tmp_path / "operating_point.json").write_text(json.dumps(record))
    assert load_mask_threshold(tmp_path / MASK_THRESHOLD, any_system) == 0.6


def test_a_choice_for_other_weights_is_refused(tmp_path: Path, any_system: System) -> None:
    (tmp_path / MASK_THRESHOLD).write_text('{"mask_threshold": 0.6, "weights": "of before"}')
    with pytest.raises(InputError, match="chosen for other weights; remove it and repeat"):
        load_mask_threshold(tmp_path / MASK_THRESHOLD, any_system)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"mask_threshold": "high"}', '{"mask_threshold": 1, "weights": ""}']
)
def test_a_damaged_choice_is_named(tmp_path: Path, any_system: System, text: str) -> None:
    (tmp_path / MASK_THRESHOLD).write_text(text)
    with pytest.raises(InputError, match=rf"{MASK_THRESHOLD}: damaged"):
        load_mask_threshold(tmp_path / MASK_THRESHOLD, any_system)


def test_the_record_says_what_it_was_chosen_on(choice: tuple[System, Path]) -> None:
    record = json.loads(choice[1].read_text())
    assert record["chosen_on"] == "generated (isic2017 layout) train, 4 images"
    assert len(record["jaccard"]) == len(GRID_T)

import json
from pathlib import Path

import pytest

from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.synthetic.write import write_isic2017
from ckd.finding.logits import mask_from_logits
from ckd.scores.images import mask_scores
from ckd.train.evaluation.operating_point import (
    GRID_T,
    OPERATING_POINT,
    choose_mask_threshold,
    load_mask_threshold,
)
from ckd.train.evaluation.scoring import score_image
from ckd.train.evaluation.views import image_logits
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems.graph import System


def test_the_chosen_threshold_is_the_best_of_the_grid_and_is_used(tmp_path: Path) -> None:
    write_isic2017(tmp_path / "data", num_train=4, num_val=1, side_px=64)
    samples = read_split(tmp_path / "data", "train")
    recipe = ckdnet_tiny()
    system = recipe.system.build(samples.labels, recipe.tasks, 64, None).eval()
    chosen = choose_mask_threshold(system, samples, tmp_path / OPERATING_POINT)

    assert (
        load_mask_threshold(tmp_path / OPERATING_POINT, system) == chosen == system.mask_threshold
    )
    settings = recipe.stages[0].augmentation
    given = [answer for _, answer in image_logits(system, samples.samples, "1", settings)]
    name = system.outputs.mask_logits
    assert name is not None
    means = []
    for threshold in GRID_T:
        overlaps = []
        for sample, answer in zip(samples.samples, given, strict=True):
            assert sample.mask is not None
            truth_HW = read_mask(sample.mask)
            mask_HW = mask_from_logits(answer[name][0], *truth_HW.shape, threshold=threshold)
            overlaps.append(confusion_from_masks(mask_HW, truth_HW).jaccard)
        means.append(sum(overlaps) / len(overlaps))
    # Batches of one and of four round differently; a pixel at the cut may fall either way.
    assert means[GRID_T.index(chosen)] == pytest.approx(max(means), abs=2e-3)
    scores = [
        score_image(system, answer, s) for s, answer in zip(samples.samples, given, strict=True)
    ]
    found = mask_scores(scores)
    assert found is not None
    assert found.jaccard == pytest.approx(means[GRID_T.index(chosen)], abs=1e-9)


@pytest.fixture(scope="module")
def any_system() -> System:
    recipe = ckdnet_tiny()
    return recipe.system.build(("MEL", "SBK", "NEV"), recipe.tasks, 64, None)


def test_without_a_choice_masks_are_cut_at_one_half(tmp_path: Path, any_system: System) -> None:
    assert load_mask_threshold(tmp_path / OPERATING_POINT, any_system) == 0.5


def test_a_choice_for_other_weights_is_refused(tmp_path: Path, any_system: System) -> None:
    (tmp_path / OPERATING_POINT).write_text('{"mask_threshold": 0.6, "weights": "of before"}')
    with pytest.raises(InputError, match="chosen for other weights; remove it and repeat"):
        load_mask_threshold(tmp_path / OPERATING_POINT, any_system)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"mask_threshold": "high"}', '{"mask_threshold": 1, "weights": ""}']
)
def test_a_damaged_choice_is_named(tmp_path: Path, any_system: System, text: str) -> None:
    (tmp_path / OPERATING_POINT).write_text(text)
    with pytest.raises(InputError, match=rf"{OPERATING_POINT}: damaged"):
        load_mask_threshold(tmp_path / OPERATING_POINT, any_system)


def test_the_record_says_what_it_was_chosen_on(tmp_path: Path) -> None:
    write_isic2017(tmp_path / "data", num_train=4, num_val=1, side_px=64)
    samples = read_split(tmp_path / "data", "train")
    recipe = ckdnet_tiny()
    system = recipe.system.build(samples.labels, recipe.tasks, 64, None)
    choose_mask_threshold(system, samples, tmp_path / OPERATING_POINT)
    record = json.loads((tmp_path / OPERATING_POINT).read_text())
    assert record["chosen_on"] == "generated (isic2017 layout) train, 4 images"
    assert len(record["jaccard"]) == len(GRID_T)

"""What the networks say, in pixels of the image and by the names of its classes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from ckd.contract.bundle import Bundle
from ckd.contract.manifest import Manifest, ResultSpec
from ckd.runtime.answers import answers_from_logits

LOGITS = {
    "logits": np.array([[0.0, 0.0, np.log(2.0)]], np.float32),
    # Probabilities of 0.3 and 0.7, left and right.
    "mask_logits": np.where(np.arange(32) < 16, -0.85, 0.85).astype(np.float16)[None, None, None],
    "coarse_logits": np.full((1, 1, 8, 8), 9.0, np.float16),
}
LOGITS["mask_logits"] = np.repeat(LOGITS["mask_logits"], 32, 2)


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return Bundle(tiny_bundle).manifest


def test_masks_are_cut_at_the_threshold_of_the_bundle(manifest: Manifest) -> None:
    fractions = []
    for threshold in (0.2, 0.5, 0.8):
        cut = dataclasses.replace(manifest, thresholds={"mask": threshold})
        answers = answers_from_logits(cut, LOGITS, 64, 48)
        assert answers.mask_HW is not None
        assert answers.mask_HW.shape == (64, 48)
        assert answers.quality["lesion_fraction"] == answers.mask_HW.mean()
        assert answers.coarse_mask_HW is not None
        assert answers.coarse_mask_HW.all()
        fractions.append(float(answers.mask_HW.mean()))
    assert fractions == [1.0, 0.5, 0.0]


def test_probabilities_have_the_names_of_the_labels(manifest: Manifest) -> None:
    probabilities = answers_from_logits(manifest, LOGITS, 32, 32).probabilities
    assert probabilities == pytest.approx({"MEL": 0.25, "SBK": 0.25, "NEV": 0.5})


def test_agreement_compares_the_two_masks_where_there_is_one(manifest: Manifest) -> None:
    half = answers_from_logits(manifest, LOGITS, 64, 64)
    assert half.quality["mask_agreement"] == pytest.approx(0.5)
    none = dataclasses.replace(manifest, thresholds={"mask": 0.8})
    assert "mask_agreement" not in answers_from_logits(none, LOGITS, 64, 64).quality


def test_what_the_system_does_not_say_is_left_out(manifest: Manifest) -> None:
    mute = dataclasses.replace(manifest, results=ResultSpec())
    answers = answers_from_logits(mute, LOGITS, 32, 32)
    assert (answers.mask_HW, answers.coarse_mask_HW) == (None, None)
    assert answers.probabilities == answers.quality == {}

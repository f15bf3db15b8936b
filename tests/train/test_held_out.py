"""Answers of held-out images are kept whole, and a damaged file is refused by its name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from ckd.contract.errors import InputError
from ckd.train.evaluation.held_out import ANSWERS, NO_LABEL, HeldOutAnswers


@pytest.fixture
def answers() -> HeldOutAnswers:
    rng = np.random.default_rng(0)
    return HeldOutAnswers(
        labels=("MEL", "SBK", "NEV"),
        weights="a digest",
        mask_threshold=0.68,
        ids=("b", "a", "c", "d"),
        label_N=np.array([0, NO_LABEL, 2, 1]),
        class_logits_NK=rng.normal(size=(4, 3)).astype(np.float32),
        features_ND=rng.normal(size=(4, 5)).astype(np.float32),
        mask_logits_NHW=rng.normal(size=(4, 6, 6)).astype(np.float16),
        coarse_logits_NHW=None,
    )


def test_what_is_read_is_what_was_kept(answers: HeldOutAnswers, tmp_path: Path) -> None:
    answers.save(tmp_path / ANSWERS)
    read = HeldOutAnswers.load(tmp_path / ANSWERS)
    assert [path.name for path in tmp_path.iterdir()] == [ANSWERS]
    assert (read.labels, read.weights, read.ids) == (answers.labels, "a digest", answers.ids)
    assert read.mask_threshold == 0.68
    assert read.coarse_logits_NHW is None
    for name in ("label_N", "class_logits_NK", "features_ND", "mask_logits_NHW"):
        np.testing.assert_array_equal(getattr(read, name), getattr(answers, name))


def test_half_precision_moves_a_probability_by_less_than_is_said() -> None:
    logits = np.linspace(-20, 20, 400_001, dtype=np.float32)

    def probability(values: Any) -> Any:
        return 1 / (1 + np.exp(-values.astype(np.float64)))

    assert abs(probability(logits.astype(np.float16)) - probability(logits)).max() < 0.0002


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ids": ("a", "a", "c", "d")}, "one of them twice"),
        ({"label_N": np.array([0, 4, 2, 1])}, "classes that there are not"),
        ({"label_N": np.array([0, 1, 2])}, "label_N is int64"),
        ({"class_logits_NK": np.zeros((4, 2), np.float32)}, "class_logits_NK is float32"),
        ({"class_logits_NK": np.full((4, 3), np.nan, np.float32)}, "not finite"),
        ({"features_ND": np.zeros((3, 5), np.float32)}, "features_ND is float32"),
        ({"mask_logits_NHW": np.zeros((4, 6, 6), np.float32)}, "expected float16"),
        ({"mask_logits_NHW": np.zeros((4, 6), np.float16)}, "2 axes, expected 3"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    answers: HeldOutAnswers, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    replace(answers, **changes).save(tmp_path / ANSWERS)
    with pytest.raises(InputError, match=rf"{said}.*repeat `ckd-train crossvalidate`"):
        HeldOutAnswers.load(tmp_path / ANSWERS)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(
    answers: HeldOutAnswers, tmp_path: Path, keep: float
) -> None:
    path = tmp_path / ANSWERS
    answers.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    with pytest.raises(InputError, match=r"answers\.npz: damaged"):
        HeldOutAnswers.load(path)


def test_bytes_that_a_disk_lost_are_refused_wherever_they_were(
    answers: HeldOutAnswers, tmp_path: Path
) -> None:
    path = tmp_path / ANSWERS
    answers.save(path)
    whole = path.read_bytes()
    refusals = []
    for start in range(0, len(whole), 37):
        path.write_bytes(whole[:start] + bytes(16) + whole[start + 16 :])
        try:
            HeldOutAnswers.load(path)
        except InputError as error:
            refusals.append("answers.npz: damaged" in str(error))
    assert all(refusals)
    assert len(refusals) > 20


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / ANSWERS, about=np.array([{"labels": ()}], dtype=object))
    with pytest.raises(InputError, match="damaged"):
        HeldOutAnswers.load(tmp_path / ANSWERS)


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not there; `ckd-train crossvalidate` makes it"):
        HeldOutAnswers.load(tmp_path / ANSWERS)

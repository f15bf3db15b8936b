"""A model card says how a study chose and made the network."""

import json
from pathlib import Path

import pytest

from ckd.contract.errors import InputError
from ckd.export.study_card import is_of_study, study_section
from ckd.train.recipes.taught import ckdnet_mobile_taught


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The run of a winner as far as its card is concerned, in the folder of a study."""
    study, run = tmp_path / "study", tmp_path / "study" / "taught" / "all"
    run.mkdir(parents=True)
    ckdnet_mobile_taught().save(run / "recipe.json")
    ground = {"commit": "c0ffee", "folds": 2}
    (study / "study.json").write_text(json.dumps({"ground": ground, "study": {}}))
    rows = [
        {
            "name": "today", "kind": "candidate", "hours": 0.5, "million_parameters": 7.1,
            "folds": {"0": {"mean_auc": 0.86, "fine_jaccard": None, "num_images": 9}},
            "seeds": [], "elsewhere": {}, "left_out": [],
        },
        {
            "name": "taught", "kind": "candidate", "hours": 2.5, "million_parameters": 7.1,
            "folds": {"0": {"mean_auc": 0.88}, "1": {"mean_auc": 0.9}},
            "seeds": [], "elsewhere": {"MEL": 0.81}, "left_out": [],
        },
        {
            "name": "cls_soup", "kind": "stage", "hours": None, "million_parameters": None,
            "folds": {"0": {"mean_auc": 0.87}}, "seeds": [], "elsewhere": {}, "left_out": [],
        },
    ]  # fmt: skip
    (study / "summary.json").write_text(json.dumps(rows))
    evaluation = study / "taught" / "fold0" / "evaluation"
    evaluation.mkdir(parents=True)
    scores = {
        "num_images": 9,
        "classification": {"mean_auc": 0.88, "interval_95": {"mean_auc": [0.8, 0.95]}},
        "segmentation": {"fine": None, "coarse": None},
    }
    (evaluation / "scores.json").write_text(json.dumps(scores))
    return run


def test_stages_folds_and_candidates_stand_in_the_card(run: Path) -> None:
    assert is_of_study(run)
    text = study_section(run)
    assert "- `cls_member1`: 20 epochs, seed 1" in text
    assert (
        "- `cls_student10`: 30 epochs, seed 10, taught by cls_member0, cls_member1, cls_member2, "
        "images mixed (alpha 0.4)"
    ) in text
    assert "- `cls`: average of the weights of cls_student10, cls_student11" in text
    assert "| 0 | 9 | 0.880 (0.800 to 0.950) | - |" in text
    assert "| | folds | mean AUC | AUC MEL | AUC SBK | Jaccard | coarse Jaccard |" in text
    assert "| **today** | 1 of 2 | 0.860 |  |  |  |  |  | 0.5 |" in text
    assert "| **taught** | 2 of 2 | 0.890 |  |  |  |  | 0.810 | 2.5 |" in text
    assert "| cls_soup | 1 of 2 | 0.870 |" in text
    assert "Trained and chosen by commit c0ffee" in text


def test_a_run_of_its_own_is_none_of_a_study(run: Path, tmp_path: Path) -> None:
    assert not is_of_study(run.parent / "fold0")
    assert not is_of_study(tmp_path / "all")


def test_a_damaged_study_is_named(run: Path) -> None:
    (run.parent.parent / "summary.json").write_text("[{}]")
    with pytest.raises(InputError, match=r"cannot be read as a study .*--table"):
        study_section(run)

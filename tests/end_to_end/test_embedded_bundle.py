"""The bundle that comes with ckd: whole, and as good as its model card says."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.bundle import Bundle
from ckd.contract.card import MODEL_CARD
from ckd.contract.confusion import confusion_from_masks
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import dermoscopy
from ckd.runtime import Cascade
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.signed import embedded_bundle, open_bundle
from ckd.scores.metrics import classification_scores, segmentation_scores

ROOT = Path(__file__).parents[2]


def _isic2017() -> Path:
    folder = Path(os.environ.get("CKD_DATA_ISIC2017", ROOT.parent / "shared/data/isic2017_256"))
    if not folder.is_dir():
        pytest.skip("needs ISIC 2017 at 256 px; name its folder in CKD_DATA_ISIC2017")
    return folder


def test_acceptance_cases_pass_here() -> None:
    bundle = Bundle(embedded_bundle())
    bundle.verify()
    with Cascade.load() as cascade:
        assert all(case.passed for case in run_acceptance(cascade.chain, bundle))


def test_its_signature_fits_and_the_card_says_by_what_key() -> None:
    """Bundle files changed without it: `make sign`, with CKD_RELEASE_KEY for a release."""
    pytest.importorskip("cryptography")
    bundle = open_bundle(trusted_keys=[embedded_bundle().parent / "release.pub"])
    assert bundle.signer == "release.pub"
    card = bundle.read(MODEL_CARD).decode()
    assert card.count("## Signature") == 1
    assert "ephemeral key" in card or "release key" in card


def test_it_finds_generated_lesions() -> None:
    with Cascade.load() as cascade:
        overlaps = []
        for seed in range(12):
            case = dermoscopy(seed, side_px=384)
            mask_HW = cascade.predict(case.image_HWC).mask_HW
            assert mask_HW is not None
            overlaps.append(confusion_from_masks(mask_HW, case.mask_HW).jaccard)
    # Trained on photographs, never on these; a network that sees nothing scores below 0.2.
    assert np.median(overlaps) > 0.6


def test_pictures_of_nothing_and_of_other_things_get_no_diagnosis() -> None:
    rng = np.random.default_rng(0)
    black = np.zeros((120, 160, 3), np.uint8)
    pictures = {
        "black": (black, "blank"),
        "white": (black + 255, "blank"),
        "noise": (rng.integers(0, 256, black.shape).astype(np.uint8), "no_lesion"),
    }
    with Cascade.load() as cascade:
        for name, (image_HWC, code) in pictures.items():
            finding = cascade.predict(image_HWC)
            assert finding.reason is not None, name
            assert finding.reason.code == code, name
            assert finding.probabilities == {}


@pytest.mark.slow
def test_the_device_repeats_the_scores_of_the_model_card() -> None:
    bundle = Bundle(embedded_bundle())
    evaluation = json.loads(bundle.read("evaluation.json"))
    samples = read_split(_isic2017(), "val")
    fine, coarse, delivered, probabilities, labels = [], [], [], [], []
    without_answer = []
    with Cascade.load() as cascade:
        assert cascade.spec.labels == samples.labels
        for sample in samples.samples:
            finding = cascade.predict(sample.image)
            assert sample.mask is not None
            assert finding.mask_HW is not None
            assert finding.raw.mask_HW is not None
            assert finding.raw.coarse_mask_HW is not None
            truth_HW = np.asarray(Image.open(sample.mask).convert("L")) > 128
            fine.append(confusion_from_masks(finding.raw.mask_HW, truth_HW))
            coarse.append(confusion_from_masks(finding.raw.coarse_mask_HW, truth_HW))
            delivered.append(confusion_from_masks(finding.mask_HW, truth_HW))
            probabilities.append(list(finding.raw.probabilities.values()))
            labels.append(sample.label)
            if finding.reason is not None:
                without_answer.append(f"{sample.id} ({finding.reason.code})")
    card = bundle.read("model_card.md").decode()
    named = f": {', '.join(without_answer)}" if without_answer else ""
    assert f"{len(without_answer)} get no answer{named}." in card
    said = re.search(r"Mean Jaccard index ([0-9.]+) of the delivered masks", card)
    assert said is not None
    assert segmentation_scores(delivered).jaccard == pytest.approx(float(said[1]), abs=1e-3)
    assert evaluation["num_images"] == len(labels)
    # PyTorch scored the card, ONNX Runtime scores here: a border pixel or a rank may swap.
    close = pytest.approx
    assert segmentation_scores(fine).jaccard == close(
        evaluation["segmentation"]["fine"]["jaccard"], abs=1e-3
    )
    assert segmentation_scores(coarse).jaccard == close(
        evaluation["segmentation"]["coarse"]["jaccard"], abs=1e-3
    )
    scores = classification_scores(
        np.array(probabilities), np.array(labels), samples.labels, tasks=("MEL", "SBK")
    )
    assert scores.mean_auc == close(evaluation["classification"]["mean_auc"], abs=1e-3)

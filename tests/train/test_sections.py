"""The sections of a bundle: what they are fitted on, and what they then do."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_of import made_of
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, InputError, UsageError
from ckd.contract.fitted_sections import write_fitted
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.samples import Sample
from ckd.data.synthetic.write import write_isic2017
from ckd.export.sections import CHECKED, TITLES, write_sections
from ckd.finding.cleanup import MaskRule
from ckd.finding.outcome import OutcomeRule, is_blank
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.train.evaluation.held_out import Collected, HeldOutAnswers
from ckd.train.fitting.identity import describe, digest
from ckd.train.sections import answered as answered_module
from ckd.train.sections import fit
from ckd.train.sections import pictures as pictures_module
from ckd.train.sections.answered import Answered
from ckd.train.sections.mask import (
    RULES,
    CleanedUp,
    best_rule,
    compare_rules,
    try_rules,
)
from ckd.train.sections.mask_report import mask_text, outcome_text
from ckd.train.sections.outcome import PHOTOGRAPH, Judged, code_of, codes_in_turn, fit_outcome
from ckd.train.sections.pictures import bare_skin, blanks, made_skin, patterns, things
from ckd.train.systems.graph import System

RECIPE, DATA = "a" * 64, "f" * 64
OF_BOTH = {"recipe_digest": RECIPE, "data_digest": DATA}
NAMES = ("fine_peak", "fine_floor", "alike")


def judged(kind: str, number: int, means: Sequence[float], group: str = "") -> list[Judged]:
    rng = np.random.default_rng(len(kind))
    figures = rng.normal(means, 0.4, (number, 3))
    rows = [dict(zip(NAMES, row.tolist(), strict=True)) for row in figures]
    return [
        Judged(
            kind, f"{kind} {i}", group or kind, Answered(signs, is_blank=False, is_outlined=True)
        )
        for i, signs in enumerate(rows)
    ]


@pytest.fixture(scope="module")
def pictures() -> list[Judged]:
    return [
        *judged(PHOTOGRAPH, 700, (6, -6, 3), "light skin"),
        *judged("things", 40, (6, -6, -1)),
        *judged("bare skin", 40, (1, -2, 3)),
    ]


def test_a_rule_keeps_photographs_and_refuses_the_rest(pictures: list[Judged]) -> None:
    rule = fit_outcome(pictures)
    assert [*rule.scores] == ["no_skin", "no_lesion"]
    assert rule.scores["no_skin"].weights["alike"] > 0
    assert rule.scores["no_lesion"].weights["fine_peak"] > 0
    codes = codes_in_turn(pictures)
    lost = sum(code is not None for code in codes[:700])
    assert 0 < lost <= 7  # a threshold at the edge takes some that it was not fitted on
    assert codes[700:740] == ["no_skin"] * 40
    assert codes[740:] == ["no_lesion"] * 40
    text = outcome_text(pictures, codes)
    assert "| things | 40 | 0 | 40 | 0 | 100.0% (91.2% to 100.0%) |" in text
    assert "| - light skin | 700 |" in text


def test_the_codes_are_those_of_the_rule(pictures: list[Judged]) -> None:
    rule = fit_outcome(pictures)
    one = pictures[0].answered
    assert code_of(rule, one) is None
    assert code_of(rule, replace(one, is_blank=True)) == "blank"
    assert code_of(rule, replace(one, is_outlined=False)) == "no_lesion"


def test_pictures_of_other_things_are_many_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    write_isic2017(tmp_path, num_train=3, num_val=1, side_px=64, seed=1)
    samples = read_split(tmp_path, "train").samples
    first, again = (list(things()) for _ in range(2))
    assert len(first) == 100
    assert all((a.image_HWC == b.image_HWC).all() for a, b in zip(first, again, strict=True))
    assert all(is_blank(one.image_HWC) for one in blanks(4))
    others = [*bare_skin(samples, 9), *made_skin(4), *patterns(2), *first]
    assert {one.image_HWC.dtype.name for one in others} == {"uint8"}
    assert {one.image_HWC.shape[2] for one in others} == {3}
    assert sum(is_blank(one.image_HWC) for one in made_skin(4)) == 0


def test_bare_skin_is_skin_of_the_photograph_without_its_lesion(tmp_path: Path) -> None:
    write_isic2017(tmp_path, num_train=6, num_val=1, side_px=64, seed=2)
    samples = {sample.id: sample for sample in read_split(tmp_path, "train").samples}
    found = list(bare_skin([*samples.values()], 9))
    assert found
    for one in found:
        sample = samples[one.source]
        assert sample.mask is not None
        image_HWC = read_rgb(sample.image)
        lesion_HW = read_mask(sample.mask, image_HWC.shape[:2])
        outside = {tuple(pixel) for pixel in image_HWC[~lesion_HW].tolist()}
        assert {tuple(pixel) for pixel in one.image_HWC.reshape(-1, 3).tolist()} <= outside
    assert len(list(bare_skin([*samples.values()], 1))) == 1


def disc(radius: float, at: tuple[int, int] = (32, 32)) -> NDArray[np.bool_]:
    y, x = np.mgrid[:64, :64]
    return np.asarray(np.hypot(y - at[0], x - at[1]) <= radius)


def compared(
    masks: Sequence[NDArray[np.bool_]], truths: Sequence[NDArray[np.bool_]]
) -> list[CleanedUp]:
    pairs = enumerate(zip(masks, truths, strict=True))
    return compare_rules([try_rules(str(n), mask, truth) for n, (mask, truth) in pairs])


def test_the_rule_that_helps_is_taken_and_none_where_none_does() -> None:
    truths = [disc(15), disc(18), disc(12)]
    table = compared([truth | disc(4, (5, 58)) for truth in truths], truths)
    assert [row.rule for row in table] == list(RULES)
    assert best_rule(table) == MaskRule(least_share=0.25, fills_holes=True)
    assert table[-1].jaccard == 1
    assert table[0].boundary > table[-1].boundary == 0
    assert table[-1].losses == ()
    assert "parts of 25% of the largest or more (taken)" in mask_text(table, best_rule(table))
    table = compared(truths, truths)
    assert best_rule(table) == MaskRule()
    assert "masks are given as they come" in mask_text(table, MaskRule())
    two = [disc(10, (20, 20)) | disc(9, (45, 45)), disc(9)]
    table = compared(two, two)
    assert best_rule(table) == MaskRule()
    assert [name for name, _ in table[-1].losses] == ["0"]
    assert "0 (-0.4" in mask_text(table, MaskRule())


def test_few_large_photographs_are_held_at_a_time(
    make_tiny_system: Callable[[], System], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for number in range(20):
            taken.append(number)
            yield np.full((40, 50, 3), number, np.uint8)

    system = make_tiny_system().eval()
    for limit, ahead in ((64_000_000, [15, 19]), (4000, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19])):
        monkeypatch.setattr(answered_module, "_BATCH_PIXELS", limit)
        seen = []
        for image_HWC, mask_HW, _ in answered_module.answered(system, images()):
            assert mask_HW.shape == (40, 50)
            seen.append((image_HWC[0, 0, 0], taken[-1]))
        assert [number for number, _ in seen] == list(range(20))
        assert sorted({last for _, last in seen}) == ahead


def masks_of(system: System, sample: Sample) -> dict[str, NDArray[np.float32]]:
    import torch

    small_SSC = network_image(read_rgb(sample.image), system.image_size)
    names = [str(system.outputs.mask_logits), str(system.outputs.coarse_logits)]
    with torch.no_grad():
        given = system(torch.from_numpy(small_SSC[None]), names)
    return {name: tensor[0].numpy() for name, tensor in given.items()}


def is_outside(ids: Sequence[str], sample: Sample) -> bool:
    return sample.id not in ids


@pytest.fixture
def folds(
    make_tiny_system: Callable[[], System], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Two folds of a random system, beside the data set that they are of."""
    pytest.importorskip("skimage")
    write_isic2017(tmp_path / "data", num_train=8, num_val=2, side_px=48, seed=3)
    train_set = read_split(tmp_path / "data", "train")
    system = make_tiny_system().eval()
    for number in range(2):
        run = tmp_path / "folds" / f"fold{number}"
        run.mkdir(parents=True)
        (run / "recipe.json").write_text("{}")
        collected = Collected(system)
        for sample in train_set.samples[number::2]:
            collected.add(sample, masks_of(system, sample))
        kept = collected.all()
        trained_on = train_set.only(partial(is_outside, kept.ids))
        (run / "data.json").write_text(json.dumps(describe(trained_on, None)))
        kept.save(run / "answers.npz")
    recipe = SimpleNamespace(target_of=lambda labels: labels[0], digest=lambda: RECIPE)
    monkeypatch.setattr(answered_module, "load_run", lambda run: (recipe, make_tiny_system()))
    by_lesion = SimpleNamespace(split_by="lesion")
    monkeypatch.setattr(answered_module, "recipe_of", lambda run: by_lesion)
    monkeypatch.setattr(fit, "LEAST_PHOTOGRAPHS", 8)
    monkeypatch.setattr(pictures_module, "_MADE", 3)
    ten = list(things())[:10]
    monkeypatch.setattr(pictures_module, "things", lambda: ten)
    return tmp_path / "folds"


def test_what_is_fitted_is_what_the_bundle_then_declares(
    folds: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    data, fitted = tmp_path / "data", tmp_path / "fitted"
    sections = fit.fit_sections(folds, data, fitted, ("outcome", "mask"), accelerator="cpu")
    source = {"recipe_digest": RECIPE, "data_digest": digest(read_split(data, "train"))}
    assert json.loads((fitted / "sections.json").read_text()) == {"source": source, **sections}
    assert set(sections) == {"outcome", "mask"}
    assert (fitted / "outcome.png").stat().st_size > 10_000
    texts = [(fitted / f"{name}.md").read_text() for name in sections]
    for text in texts:
        assert "on the 8 training photographs of generated (isic2017 layout) that fold0, f" in text

    # Whatever was fitted, with this everything is delivered: half of each mask is cut off.
    mask = {"least_share": 0.0, "fills_holes": False, "least_fraction": 1.0}
    always = {"weights": {}, "at_least": -1}
    outcome = {"no_skin": always, "no_lesion": {"weights": {}, "at_least": 1}}
    samples = read_split(data, "val")
    exported = Bundle(made_of(tiny_bundle, tmp_path / "exported", source))
    report = write_sections(exported, fitted, tmp_path / "new", samples)
    assert (report.num_images, report.names) == (2, ("outcome", "mask"))
    assert report.raw_jaccard is not None
    bundle, old = Bundle(tmp_path / "new"), Bundle(tiny_bundle)
    assert OutcomeRule.of(bundle.spec).as_content() == sections["outcome"]["content"]
    assert MaskRule.of(bundle.spec).as_content() == sections["mask"]["content"]
    card = (tmp_path / "new" / "model_card.md").read_text()
    for name, text in zip(sections, texts, strict=True):
        title = TITLES[name]
        assert f"## {title}\n\n{text.strip()}\n" in card
    assert f"{len(report.lost)} get no answer" in card
    assert f"Mean Jaccard index {report.jaccard:.4f} of the delivered masks" in card
    assert (tmp_path / "new" / "outcome.png").exists()
    networks = {name for name in bundle.files if name.endswith(".onnx")}
    assert all(bundle.read(name) == old.read(name) for name in networks)

    # One section replaces its own, with text and picture, and leaves the other.
    (fitted / "mask.md").write_text("new words")
    (fitted / "mask.png").unlink(missing_ok=True)
    content: dict[str, Any] = {
        "source": source, "mask": {"informative": False, "content": mask}
    }  # fmt: skip
    (fitted / "sections.json").write_text(json.dumps(content))
    write_sections(bundle, fitted, tmp_path / "again")
    again = Bundle(tmp_path / "again")
    assert MaskRule.of(again.spec).least_fraction == 1
    assert OutcomeRule.of(again.spec) == OutcomeRule.of(bundle.spec)
    card = (tmp_path / "again" / "model_card.md").read_text()
    assert f"## {TITLES['mask']}\n\nnew words\n" in card
    assert texts[0].strip() in card
    assert CHECKED not in card  # what was delivered with the other section
    assert not (tmp_path / "again" / "mask.png").exists()

    # What is delivered is counted as it is delivered, and the networks' own masks beside it.
    content["outcome"] = {"informative": False, "content": outcome}
    (fitted / "sections.json").write_text(json.dumps(content))
    lost = write_sections(bundle, fitted, tmp_path / "lost", samples)
    assert [code for _, code in lost.lost] == ["no_lesion"] * 2
    assert (lost.jaccard, lost.raw_jaccard) == (0, report.raw_jaccard)
    assert lost.boundary is None


def test_what_cannot_be_fitted_is_named_before_anything_is_written(
    folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"no finished fold \(fold"):
        fit.fit_sections(tmp_path, tmp_path / "data", out, accelerator="cpu")
    write_isic2017(tmp_path / "other", num_train=2, num_val=1, side_px=48, seed=9)
    with pytest.raises(InputError, match="which is no training image of generated"):
        fit.fit_sections(folds, tmp_path / "other", out, accelerator="cpu")
    monkeypatch.setattr(fit, "LEAST_PHOTOGRAPHS", 9)
    for only in (("mask",), ("outcome",)):
        with pytest.raises(InputError, match="8 photographs with a mask were held out, expected 9"):
            fit.fit_sections(folds, tmp_path / "data", out, only, accelerator="cpu")
    assert not out.exists()
    monkeypatch.setattr(fit, "LEAST_PHOTOGRAPHS", 8)
    with pytest.raises(UsageError, match="cannot write results there"):
        fit.fit_sections(
            folds, tmp_path / "data", folds / "fold0" / "recipe.json", accelerator="cpu"
        )


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({}, "it holds no section"),
        ([], "it holds no section"),
        (
            {"colour": {"informative": False, "content": {}}},
            "'colour' is none of outcome, mask, prob",
        ),
        ({"mask": {"informative": "false", "content": {}}}, "mask is no section"),
        ({"mask": {"informative": False, "content": [["least_share", 1]]}}, "mask is no section"),
        (
            {"source": {}, "mask": {"informative": False, "content": {"least_share": 1}}},
            "says not of which networks, as an earlier ckd wrote it; repeat `ckd-train sections`",
        ),
        (
            {
                "source": {"recipe_digest": RECIPE},
                "mask": {"informative": False, "content": {"least_share": 1}},
            },
            "says not of which networks",
        ),
        ({"source": "a", "mask": {}}, "source is no object of digests"),
        ({"source": {"recipe_digest": "a"}, "mask": {}}, "source is no object of digests"),
        (
            {
                "source": {"recipe_digest": RECIPE, "data_digest": DATA},
                "mask": {"informative": False, "content": {"least_share": 1}},
            },
            "it holds least_share, e",
        ),
    ],
)
def test_what_does_not_fit_a_bundle_is_not_written(
    tree: object, words: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "mask.md").touch()
    (tmp_path / "sections.json").write_text(json.dumps(tree))
    exported = Bundle(made_of(tiny_bundle, tmp_path / "exported", OF_BOTH))
    with pytest.raises((InputError, BundleError), match=words):
        write_sections(exported, tmp_path, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_sections_of_other_networks_of_the_same_shape_are_refused(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    source = {**OF_BOTH, "weights_digest": "c" * 64}
    content = {"least_share": 0.0, "fills_holes": False, "least_fraction": 1.0}
    write_fitted(tmp_path, {"mask": content}, source)
    (tmp_path / "mask.md").write_text("words")
    for number, (digests, words) in enumerate((
        ({}, "recipe digest is aaaaaaaaaaaa..., and that of .* is not stated;"),
        ({"recipe_digest": "b" * 64}, "recipe digest is aaaaaaaaaaaa..., and that of .* is bbbbbb"),
        ({**OF_BOTH, "data_digest": "b" * 64}, "data digest is ffffffffffff..., and .* is bbbbb"),
        (OF_BOTH, "weights digest is cccccccccccc..., and that of .* not stated"),
        ({**source, "weights_digest": "d" * 64}, "is cccccccccccc..., and that .* is dddddddddddd"),
    )):  # fmt: skip
        bundle = Bundle(made_of(tiny_bundle, tmp_path / f"bundle{number}", digests))
        with pytest.raises(InputError, match=words) as caught:
            write_sections(bundle, tmp_path, tmp_path / "new")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()
    own = Bundle(made_of(tiny_bundle, tmp_path / "own", source))
    write_sections(own, tmp_path, tmp_path / "new")
    assert set(Bundle(tmp_path / "new").spec.sections) == {"mask"}


def test_answers_of_other_weights_and_folds_of_other_recipes_are_refused(
    folds: Path,
    make_tiny_system: Callable[[], System],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of folds that were trained again in part, or put together from several trainings."""
    data, out, path = tmp_path / "data", tmp_path / "out", folds / "fold1" / "answers.npz"
    digests = iter("ab")
    system = make_tiny_system()

    def other_recipes(run: Path) -> Any:
        digest = 64 * next(digests)
        return SimpleNamespace(target_of=lambda labels: labels[0], digest=lambda: digest), system

    with monkeypatch.context() as patch:
        patch.setattr(answered_module, "load_run", other_recipes)
        with pytest.raises(InputError, match="fold1 was trained by another recipe than fold0"):
            fit.fit_sections(folds, data, out, ("mask",), accelerator="cpu")
    kept = HeldOutAnswers.load(path)
    replace(kept, weights="e" * 64).save(path)
    with pytest.raises(InputError, match=r"fold1/answers\.npz: answers of other weights than"):
        fit.fit_sections(folds, data, out, ("mask",), accelerator="cpu")
    replace(kept, coarse_logits_NHW=None).save(path)
    with pytest.raises(InputError, match=r"fold1/answers\.npz: has no coarse_logits_NHW, though"):
        fit.fit_sections(folds, data, out, ("mask",), accelerator="cpu")
    assert not out.exists()


def test_folds_and_a_run_of_other_images_are_refused(
    folds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same recipe on another data set gives other weights, whatever the images are called."""
    data, out, run = tmp_path / "data", tmp_path / "out", tmp_path / "run"
    train_set = read_split(data, "train")
    own = {"recipe_digest": RECIPE, "data_digest": digest(train_set)}
    for name in own:
        monkeypatch.setattr(fit, "digests_of", lambda run, name=name: {**own, name: "b" * 64})
        said = rf"run: its {name.replace('_', ' ')} is bbbbbbbbbbbb\.\.\., and that of the folds in"
        with pytest.raises(InputError, match=said):
            fit.fit_sections(folds, data, out, ("mask",), run=run, accelerator="cpu")

    # One that no training can read is no image of another data set.
    broken = train_set.samples[0]
    file = folds / "fold1" / "data.json"
    broken.image.write_bytes(b"no picture")
    listed = read_split(data, "train")
    readable = listed.only(lambda one: one.id != broken.id)
    held = [HeldOutAnswers.load(folds / f"fold{number}" / "answers.npz").ids for number in (0, 1)]
    of_second = readable.only(lambda one: one.id not in held[1])
    first = HeldOutAnswers.load(folds / "fold0" / "answers.npz")
    assert held[0][0] == broken.id
    by_image: dict[str, Any] = {
        one.name: value[1:]
        for one in fields(first)
        if isinstance(value := getattr(first, one.name), tuple | np.ndarray)
        and one.name != "labels"
    }
    replace(first, **by_image).save(folds / "fold0" / "answers.npz")
    file.write_text(json.dumps(describe(of_second, None)))
    monkeypatch.setattr(fit, "LEAST_PHOTOGRAPHS", 7)
    fit.fit_sections(folds, data, out, ("mask",), accelerator="cpu")
    source = json.loads((out / "sections.json").read_text())["source"]
    assert source == {"recipe_digest": RECIPE, "data_digest": digest(readable)}

    mask = readable.samples[0].mask
    assert mask is not None
    Image.new("L", (48, 48), 255).save(mask)
    with pytest.raises(InputError, match="its folds were trained on other images or masks than"):
        fit.fit_sections(folds, data, tmp_path / "new", ("mask",), accelerator="cpu")
    assert not (tmp_path / "new").exists()

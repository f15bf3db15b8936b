"""Golden cases: right answers pass, any other fail, and damaged cases are no licence to pass."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deciding import let_decide
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError
from ckd.contract.hashes import write_hashes
from ckd.finding.logits import softmax
from ckd.runtime.acceptance import firm_cases, run_acceptance, verdicts_of
from ckd.runtime.cascade import Cascade
from ckd.runtime.cases import CASES, TOLERANCES, pack_cases
from ckd.runtime.verdicts import VERDICTS

Arrays = dict[str, NDArray[Any]]


@pytest.fixture
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        yield cascade


def stored(folder: Path) -> Arrays:
    with np.load(folder / CASES) as archive:
        return {name: archive[name] for name in archive.files}


def with_cases(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> Bundle:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]
    return with_file(folder, CASES, packed.getvalue())


def with_file(folder: Path, name: str, content: bytes) -> Bundle:
    (folder / name).write_bytes(content)
    write_hashes(folder)
    return Bundle(folder)


def test_the_bundle_passes_its_own_cases(cascade: Cascade, tiny_bundle: Path) -> None:
    results = run_acceptance(cascade.chain, Bundle(tiny_bundle))
    assert [result.case for result in results] == [0, 1, 2, 3]
    for result in results:
        assert result.passed
        assert result.mask_jaccard is not None
        assert result.coarse_jaccard is not None
        assert result.probability_error is not None
        assert 0.99 <= result.mask_jaccard <= 1
        assert 0.99 <= result.coarse_jaccard <= 1
        assert 0 <= result.probability_error < 0.005
        assert json.loads(json.dumps(result.as_dict()))["passed"] is True


@pytest.mark.parametrize("answer", ["logits", "mask_logits", "coarse_logits"])
def test_another_answer_fails_its_case_and_no_other(
    cascade: Cascade, bundle_copy: Path, answer: str
) -> None:
    arrays = stored(bundle_copy)
    arrays[answer][2] = -arrays[answer][2]
    results = run_acceptance(cascade.chain, with_cases(bundle_copy, arrays))
    assert [result.passed for result in results] == [True, True, False, True]


def test_a_verdict_that_changes_fails_where_it_is_firm(bundle_copy: Path) -> None:
    nevus = {"MEL": 1.0, "SBK": 1.0, "NEV": 0.0}
    never = dict.fromkeys(("screening", "balanced", "specific"), 1.0)
    let_decide(bundle_copy, at_least=never, in_set=nevus, masks_agree=None)
    with_file(bundle_copy, VERDICTS, verdicts_of(Bundle(bundle_copy)))
    verdicts = json.loads((bundle_copy / VERDICTS).read_bytes())
    assert {v["decision"] for v in verdicts} == {v["referral"] for v in verdicts} == {False}

    def outcome() -> tuple[list[bool], list[int]]:
        with Cascade.load(bundle_copy, "onnxruntime") as cascade:
            cases = run_acceptance(cascade.chain, Bundle(bundle_copy))
        return [case.passed for case in cases], [case.decision_flips for case in cases]

    assert outcome() == ([True] * 4, [0] * 4)
    for part, other in (("label", "SBK"), ("decision", True), ("referral", True)):
        changed = [{**v, part: other} if n == 1 else v for n, v in enumerate(verdicts)]
        with_file(bundle_copy, VERDICTS, json.dumps(changed).encode())
        assert outcome() == ([True, False, True, True], [0, 1, 0, 0])
    # The same change where the probability of the target lies at the threshold says nothing.
    said = softmax(stored(bundle_copy)["logits"][1])[0]
    near = dict.fromkeys(("screening", "balanced", "specific"), float(said) + 0.001)
    let_decide(bundle_copy, at_least=near, in_set=nevus, masks_agree=None)
    packed = json.loads(verdicts_of(Bundle(bundle_copy)))
    packed[1].update(decision=not packed[1]["decision"])
    with_file(bundle_copy, VERDICTS, json.dumps(packed).encode())
    assert outcome() == ([True] * 4, [0, 1, 0, 0])


@pytest.mark.parametrize("content", [b"[]", b"{", b"[1, 2, 3, 4]", b'[{"label": "MEL"}]'])
def test_damaged_verdicts_are_refused(cascade: Cascade, bundle_copy: Path, content: bytes) -> None:
    bundle = with_file(bundle_copy, VERDICTS, content)
    with pytest.raises(BundleError, match="unreadable verdicts of cases"):
        run_acceptance(cascade.chain, bundle)


def test_masks_are_compared_where_the_bundle_cuts_them(cascade: Cascade, bundle_copy: Path) -> None:
    arrays = stored(bundle_copy)
    logits = arrays["mask_logits"]
    cut = np.median(logits[logits > 0])
    logits[logits > cut] = cut / 2  # still above 0, no longer above the cut
    bundle = with_cases(bundle_copy, arrays)
    assert all(result.passed for result in run_acceptance(cascade.chain, bundle))
    threshold = 1 / (1 + math.exp(-float(cut)))
    cascade.chain.spec = replace(cascade.spec, mask_threshold=threshold)
    assert not all(result.passed for result in run_acceptance(cascade.chain, bundle))


def test_another_image_fails(cascade: Cascade, bundle_copy: Path) -> None:
    arrays = stored(bundle_copy)
    arrays["images"][0] = 255 - arrays["images"][0]
    results = run_acceptance(cascade.chain, with_cases(bundle_copy, arrays))
    assert [result.passed for result in results] == [False, True, True, True]


def test_the_tolerance_decides(cascade: Cascade, bundle_copy: Path) -> None:
    arrays = stored(bundle_copy)
    arrays["logits"][0, 0] += 0.5
    for allowed, passed in ((0.005, False), (0.5, True)):
        limits = {"fp32": {"mask_jaccard": 0.9, "probability": allowed}}
        (bundle_copy / TOLERANCES).write_text(json.dumps(limits))
        assert run_acceptance(cascade.chain, with_cases(bundle_copy, arrays))[0].passed is passed


def test_an_answer_that_is_no_number_fails(cascade: Cascade, bundle_copy: Path) -> None:
    arrays = stored(bundle_copy)
    arrays["logits"][1] = np.nan
    results = run_acceptance(cascade.chain, with_cases(bundle_copy, arrays))
    assert [result.passed for result in results] == [True, False, True, True]


def test_cases_are_packed_in_half_precision_and_read_back() -> None:
    images = np.zeros((2, 4, 4, 3), np.uint8)
    logits = np.array([[0.1, -2.5], [7.0, 3.25]], np.float32)
    with np.load(io.BytesIO(pack_cases(images, {"logits": logits}))) as archive:
        assert archive["images"].dtype == np.uint8
        assert archive["logits"].dtype == np.float16
        np.testing.assert_allclose(archive["logits"], logits, rtol=1e-3)


def _without(name: str) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.pop(name)


def _as(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.update({name: change(arrays[name])})


BROKEN_CASES: dict[str, Callable[[Arrays], object]] = {
    "no images": _without("images"),
    "no answer": _without("logits"),
    "no case at all": lambda arrays: arrays.update({k: v[:0] for k, v in arrays.items()}),
    "fewer answers than images": _as("mask_logits", lambda values: values[:2]),
    "answers of another size": _as("mask_logits", lambda values: values[..., :16]),
    "answers of another rank": _as("coarse_logits", lambda values: values[:, 0]),
    "answers in words": _as("logits", lambda values: values.astype("U8")),
    "images of another size": _as("images", lambda values: values[:, ::2, ::2]),
    "pickled objects": _as("logits", lambda values: values.astype(object)),
}


@pytest.mark.parametrize("case", BROKEN_CASES)
def test_cases_that_do_not_fit_are_refused(cascade: Cascade, bundle_copy: Path, case: str) -> None:
    arrays = stored(bundle_copy)
    BROKEN_CASES[case](arrays)
    with pytest.raises(BundleError, match="unreadable acceptance cases") as caught:
        run_acceptance(cascade.chain, with_cases(bundle_copy, arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04rest", b"\x93NUMPY\x01\x00"])
def test_a_file_that_holds_no_cases_is_refused(
    cascade: Cascade, bundle_copy: Path, content: bytes
) -> None:
    with pytest.raises(BundleError, match="unreadable acceptance cases"):
        run_acceptance(cascade.chain, with_file(bundle_copy, CASES, content))


@pytest.mark.parametrize(
    "tree",
    [
        {},
        [],
        {"fp16": {"mask_jaccard": 0.9, "probability": 0.1}},
        {"fp32": {"mask_jaccard": 0.9}},
        {"fp32": {"mask_jaccard": 0.9, "probability": 0.1, "more": 1}},
        {"fp32": {"mask_jaccard": "much", "probability": 0.1}},
        {"fp32": {"mask_jaccard": True, "probability": 0.1}},
        {"fp32": {"mask_jaccard": 0.9, "probability": -0.1}},
        {"fp32": {"mask_jaccard": 0.9, "probability": 1e300}},
        {"fp32": {"mask_jaccard": 0.9, "probability": float("inf")}},
        {"fp32": None},
    ],
)
def test_tolerances_that_do_not_fit_are_refused(
    cascade: Cascade, bundle_copy: Path, tree: Any
) -> None:
    with pytest.raises(BundleError, match="unreadable acceptance tolerances"):
        run_acceptance(cascade.chain, with_file(bundle_copy, TOLERANCES, json.dumps(tree).encode()))


@pytest.mark.parametrize("name", [CASES, TOLERANCES])
def test_a_bundle_without_cases_is_refused(cascade: Cascade, bundle_copy: Path, name: str) -> None:
    (bundle_copy / name).unlink()
    write_hashes(bundle_copy)
    with pytest.raises(BundleError, match=f"{name} is not listed"):
        run_acceptance(cascade.chain, Bundle(bundle_copy))


def test_cases_near_a_threshold_are_counted_apart(bundle_copy: Path) -> None:
    unsure = firm_cases(Bundle(bundle_copy), "fp32")
    assert (unsure["decision"], unsure["referral"]) == (0, 0)  # it does not decide
    never = dict.fromkeys(("screening", "balanced", "specific"), 1.0)
    nevus = {"MEL": 1.0, "SBK": 1.0, "NEV": 0.0}
    let_decide(bundle_copy, at_least=never, in_set=nevus, masks_agree=None)
    assert firm_cases(Bundle(bundle_copy), "fp32")["decision"] == 4
    logits_NK = stored(bundle_copy)["logits"].astype(np.float32)
    near = float(np.median(softmax(logits_NK)[:, 0]))
    let_decide(bundle_copy, at_least=dict.fromkeys(never, near), in_set=nevus, masks_agree=None)
    assert firm_cases(Bundle(bundle_copy), "fp32")["decision"] < 4
    with pytest.raises(BundleError):
        firm_cases(Bundle(bundle_copy), "int8")

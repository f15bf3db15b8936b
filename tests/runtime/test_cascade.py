"""What users get from a cascade: right findings, one by one, in streams and in threads.

Suffixes: H rows, W columns, C channels in RGB order, S network side in pixels.
"""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.photographs import NODES, SIDE, assert_equal, edit_spec, photo

from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import (
    InputError,
)
from ckd.finding.finding import Finding
from ckd.finding.logits import mask_from_logits, softmax
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime.inputs import Analysed, Listener

pytestmark = pytest.mark.usefixtures("only_onnxruntime")


# Answers


def test_a_finding_says_what_the_tensors_say(cascade: Cascade, tiny_bundle: Path) -> None:
    image_HWC = photo(1, 75, 130)
    tensors = cascade.chain.run_all(network_image(image_HWC, SIDE))
    finding = cascade.predict(image_HWC)
    probabilities = softmax(tensors["logits"][0]).tolist()
    assert finding.probabilities == dict(zip(("MEL", "SBK", "NEV"), probabilities, strict=True))
    assert sum(finding.probabilities.values()) == pytest.approx(1, abs=1e-6)
    fine_HW = mask_from_logits(tensors["mask_logits"][0, 0], 75, 130)
    coarse_HW = mask_from_logits(tensors["coarse_logits"][0, 0], 75, 130, aligned_to_px=SIDE)
    np.testing.assert_array_equal(finding.mask_HW, fine_HW)
    np.testing.assert_array_equal(finding.coarse_mask_HW, coarse_HW)
    assert 0 < finding.lesion_area_px < 75 * 130
    assert finding.quality["lesion_fraction"] == pytest.approx(fine_HW.mean(), abs=0.05)
    # Counted on every second pixel.
    agreement = confusion_from_masks(fine_HW, coarse_HW).jaccard
    assert finding.quality["mask_agreement"] == pytest.approx(agreement, abs=0.01)
    assert (finding.backend, finding.precision) == ("onnxruntime", "fp32")
    assert finding.bundle == f"tiny@{Bundle(tiny_bundle).digest()[:12]}"


def test_time_is_told_for_every_step_in_order(cascade: Cascade) -> None:
    taken = cascade.predict(photo(0)).timings_ms
    assert list(taken) == ["preprocess", *NODES, "postprocess", "total"]
    parts_ms = [taken[step] for step in taken if step != "total"]
    assert min(parts_ms) > 0
    assert sum(parts_ms) <= taken["total"] < sum(parts_ms) + 5


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (200, 37), (1000, 1500)])
def test_masks_have_the_size_of_the_image(cascade: Cascade, height: int, width: int) -> None:
    finding = cascade.predict(photo(2, height, width))
    assert finding.mask_HW is not None
    assert finding.coarse_mask_HW is not None
    assert finding.mask_HW.shape == finding.coarse_mask_HW.shape == (height, width)


def test_a_file_gives_what_its_pixels_give(cascade: Cascade, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo(0)).save(path)
    expected = cascade.predict(photo(0))
    assert_equal(cascade.predict(path), expected)
    assert_equal(cascade.predict(str(path)), expected)


def test_channel_order_matters_and_views_are_taken(cascade: Cascade) -> None:
    image_HWC = photo(0)
    bgr_HWC = np.ascontiguousarray(image_HWC[..., ::-1])
    assert_equal(cascade.predict(bgr_HWC[..., ::-1]), cascade.predict(image_HWC))
    assert cascade.predict(bgr_HWC).probabilities != cascade.predict(image_HWC).probabilities


def test_images_are_analysed_independently_of_each_other(cascade: Cascade) -> None:
    alone = cascade.predict(photo(0))
    for seed in range(1, 4):
        cascade.predict(photo(seed))
    assert_equal(cascade.predict(photo(0)), alone)


def test_a_finding_stays_valid_while_others_are_made(cascade: Cascade) -> None:
    first = cascade.predict(photo(0, SIDE, SIDE))
    assert first.mask_HW is not None
    before = first.mask_HW.copy()
    second = cascade.predict(photo(5, SIDE, SIDE))
    np.testing.assert_array_equal(first.mask_HW, before)
    assert second.mask_HW is not None
    assert not np.array_equal(second.mask_HW, before)


def test_findings_are_made_elsewhere_after_the_networks_had_other_images(
    cascade: Cascade,
) -> None:
    images = [photo(seed) for seed in range(3)]
    alone = [cascade.predict(image) for image in images]
    gates = [cascade.chain.run_all(network_image(image, SIDE))["gate1"] for image in images]
    heard: list[Analysed] = []
    cascade.listener = Listener(heard.append, every_tensor=True)
    begun = [cascade.begin(image) for image in images]
    assert not heard
    with ThreadPoolExecutor(1) as another:
        made = [another.submit(make).result() for make in begun]
    for number, finding in enumerate(made):
        assert_equal(finding, alone[number])
        np.testing.assert_array_equal(heard[number].tensors["gate1"], gates[number])


def test_the_image_given_is_not_changed(cascade: Cascade) -> None:
    image_HWC = photo(0, SIDE, SIDE)
    image_HWC.flags.writeable = False
    cascade.predict(image_HWC)
    np.testing.assert_array_equal(image_HWC, photo(0, SIDE, SIDE))


@pytest.mark.parametrize(
    ("kept", "fine", "coarse", "probabilities"),
    [
        ("class_logits", False, False, True),
        ("mask_logits", True, False, False),
        ("coarse_logits", False, True, False),
    ],
)
def test_a_system_may_give_one_kind_of_answer(
    bundle_copy: Path, kept: str, fine: bool, coarse: bool, probabilities: bool
) -> None:
    def keep_one(tree: dict[str, Any]) -> None:
        dropped = {"class_logits", "mask_logits", "coarse_logits"} - {kept}
        tree["outputs"].update(dict.fromkeys(dropped))

    with Cascade.load(edit_spec(bundle_copy, keep_one)) as cascade:
        finding = cascade.predict(photo(0))
    assert (finding.mask_HW is not None, finding.coarse_mask_HW is not None) == (fine, coarse)
    assert bool(finding.probabilities) == (finding.top is not None) == probabilities
    assert "mask_agreement" not in finding.quality


# Input


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((60, 90), np.uint8),
        np.zeros((60, 90, 1), np.uint8),
        np.zeros((60, 90, 4), np.uint8),
        np.zeros((3, 60, 90), np.uint8),
        np.zeros((60, 90, 3), np.float32),
        np.zeros((60, 90, 3), np.uint16),
        np.zeros((60, 90, 3), np.int8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((0, 90, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (9000, 9000, 3)),
    ],
)
def test_an_array_that_is_no_photograph_is_refused(
    cascade: Cascade, image: NDArray[np.uint8]
) -> None:
    before = cascade.predict(photo(0))
    with pytest.raises(InputError, match=r"^image: "):
        cascade.predict(image)
    assert_equal(cascade.predict(photo(0)), before)


def test_a_file_that_is_no_photograph_is_refused(cascade: Cascade, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("words")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        cascade.predict(tmp_path / "text.jpg")


# Streams and threads


def test_a_stream_is_analysed_as_it_is_asked_for(cascade: Cascade) -> None:
    taken: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for seed in range(3):
            taken.append(seed)
            yield photo(seed)

    findings = cascade.stream(images())
    assert taken == []
    assert_equal(next(findings), cascade.predict(photo(0)))
    assert taken == [0]
    assert len(list(findings)) == 2
    assert taken == [0, 1, 2]


def test_two_cascades_run_in_two_threads(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        expected = [cascade.predict(photo(seed)) for seed in range(4)]
    by_thread: dict[int, list[Finding]] = {}

    def work(number: int) -> None:
        with Cascade.load(tiny_bundle, num_threads=1) as cascade:
            by_thread[number] = [cascade.predict(photo(seed)) for seed in [*range(4)] * 20]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(by_thread) == [0, 1]
    for findings in by_thread.values():
        for finding, alone in zip(findings, expected * 20, strict=True):
            assert_equal(finding, alone)


def test_the_number_of_threads_does_not_change_the_answer(tiny_bundle: Path) -> None:
    findings = []
    for num_threads in (1, 2, None):
        with Cascade.load(tiny_bundle, num_threads=num_threads) as cascade:
            findings.append(cascade.predict(photo(0)))
    for finding in findings[1:]:
        values = list(finding.probabilities.values())
        assert values == pytest.approx(list(findings[0].probabilities.values()), abs=1e-5)


def test_warming_up_runs_every_network_and_changes_nothing(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cascade.predict(photo(0))
    runs: list[tuple[int, ...]] = []
    predict = cascade.predict

    def spy(image: NDArray[np.uint8]) -> Finding:
        runs.append(image.shape)
        return predict(image)

    monkeypatch.setattr(cascade, "predict", spy)
    cascade.warmup(3)
    assert runs == [(SIDE, SIDE, 3)] * 3
    assert_equal(predict(photo(0)), before)

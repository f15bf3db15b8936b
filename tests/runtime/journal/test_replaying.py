"""A replay is the same to the bit, or says where it is not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.journal.rig import edit_line, npy, recorded, replayed, rewrite
from tests.runtime.photographs import SIDE, photo

from ckd.contract.errors import InputError, UsageError
from ckd.finding.verdict import Verdict
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime.journal import (
    Machine,
    Missing,
    bundle_for,
    line_of,
    load_for,
    open_run,
    pack_run,
    replay_run,
)
from ckd.runtime.journal.changes import Change
from ckd.runtime.journal.layout import LINES


@pytest.mark.parametrize("every_tensor", [False, True])
def test_a_replay_is_the_same_to_the_bit(
    cascade: Cascade, tmp_path: Path, every_tensor: bool
) -> None:
    images = [photo(0), photo(1, 75, 130), np.full((40, 40, 3), 128, np.uint8)]
    findings = [cascade.predict(image) for image in images]
    recorded(tmp_path, cascade, images, every_tensor=every_tensor)
    frames, outcome, missing = replayed(tmp_path, cascade)
    assert [one.difference for one in frames] == [None] * 3
    assert (outcome.num_frames, outcome.num_changed, missing.damaged) == (3, 0, [])
    for one, expected in zip(frames, findings, strict=True):
        assert one.finding is not None
        assert one.finding.probabilities == expected.probabilities
        np.testing.assert_array_equal(one.finding.mask_HW, expected.mask_HW)
        np.testing.assert_array_equal(one.finding.coarse_mask_HW, expected.coarse_mask_HW)
        assert one.stored.tensors.keys() == (set(cascade.spec.shapes) if every_tensor else set())
    assert frames[2].finding is not None
    assert frames[2].finding.reason is not None  # a blank picture stays one
    assert cascade.listener is None


def test_a_run_is_loaded_as_it_was_recorded(tmp_path: Path, deciding: Cascade) -> None:
    bundle = Path(__file__).parents[2] / "assets" / "tiny_bundle"
    recorded(
        tmp_path, deciding, bundle_path=bundle, operating_point="specific", prevalence={"MEL": 0.3}
    )
    header = open_run(tmp_path).header
    with pytest.raises(UsageError, match=r"is not at .*tiny_bundle; name it by --bundle"):
        bundle_for(header, None)  # another bundle lies there by now
    assert bundle_for(header, bundle) == bundle
    known = replace(header, operating_point=None, prevalence={})
    with load_for(known, bundle, Machine(threads=2)) as cascade:
        assert (cascade.backend.name, cascade.precision) == ("onnxruntime", "fp32")
        assert getattr(cascade.backend, "num_threads", None) == 2
        assert bundle_for(replace(header, digest=cascade.bundle_digest), None) == bundle


def test_more_threads_than_this_machine_can_work_with_are_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.runtime.journal.replay.usable_cores", lambda: 2)
    header = replace(open_run(run).header, threads=1024)
    with pytest.raises(UsageError, match=r"1024 threads, too many for the 2 cores here"):
        load_for(header, None, Machine())


def test_altered_outputs_are_named_in_the_order_of_the_networks(
    cascade: Cascade, run: Path, tmp_path: Path
) -> None:

    def alter(files: dict[str, bytes]) -> None:
        for index, name in ((0, "logits"), (2, "coarse_logits")):
            values = cascade.chain.run_all(network_image(photo(1), SIDE))[name]
            values[0, 0] += 0.25
            files[f"00000001.{index}-{name}.npy"] = npy(values)

    rewrite(run / "segment-00000000.zip", alter)
    frames, outcome, _ = replayed(tmp_path, cascade)
    assert [one.difference is None for one in frames] == [True, False, True]
    assert outcome.first is not None
    assert outcome.first.shown.startswith(
        "frame 1: the first that differs is the tensor coarse_logits, by up to 0.25 in "
    )
    assert outcome.num_different == 1
    rows = {name: (count, largest) for name, count, largest in outcome.output_rows()}
    assert rows == {"coarse_logits": ("1", "0.25"), "logits": ("1", "0.25")}


def test_the_hash_of_an_inner_tensor_is_found_before_what_it_causes(
    cascade: Cascade, tmp_path: Path
) -> None:
    journal = recorded(tmp_path, cascade, every_tensor=True)
    path = journal.run / "segment-00000000.zip"
    rewrite(
        path, lambda files: edit_line(files, 2, lambda line: line["tensors"].update(h2="0" * 64))
    )
    _, outcome, _ = replayed(tmp_path, cascade)
    assert outcome.first is not None
    assert outcome.first.shown == (
        "frame 2: the first that differs is the tensor h2, by its hash, while all outputs are "
        "the same"
    )


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("finding", {"top": "MEL!"}, "the finding's top"),
        ("finding", {"probabilities": {"MEL": 2.0}}, "the finding's probabilities"),
        ("masks", {"fine": "0" * 64}, "the fine mask"),
        ("masks", {"coarse": "0" * 64}, "the coarse mask"),
    ],
)
def test_a_finding_that_does_not_follow_from_its_tensors_is_named(
    cascade: Cascade, run: Path, tmp_path: Path, key: str, value: dict[str, object], what: str
) -> None:
    rewrite(
        run / "segment-00000000.zip",
        lambda files: edit_line(files, 0, lambda line: line[key].update(value)),
    )
    _, outcome, _ = replayed(tmp_path, cascade)
    assert outcome.first is not None
    assert (outcome.first.frame, outcome.first.what) == (0, what)
    assert outcome.first.detail == "from the same tensors"


def test_what_a_later_version_adds_is_kept_and_passed_over(
    cascade: Cascade, run: Path, tmp_path: Path
) -> None:

    def extend(files: dict[str, bytes]) -> None:
        edit_line(files, 1, lambda line: line.update(capture={"blur": 0.3}))
        edit_line(files, 1, lambda line: line["finding"].pop("quality"))  # and an older one lacks
        edit_line(files, 1, lambda line: line["finding"]["raw"].pop("lesion_area_px"))
        files[LINES] += b'{"kind": "hint", "text": "closer"}\n'
        files["00000001.crop.png"] = b"of a later version"

    rewrite(run / "segment-00000000.zip", extend)
    header = json.loads((run / "journal.json").read_text())
    (run / "journal.json").write_text(json.dumps({**header, "site": "ward 3"}))
    frames, _, missing = replayed(tmp_path, cascade)
    assert [one.difference for one in frames] == [None] * 3
    assert missing.damaged == []
    assert frames[1].stored.line["capture"] == {"blur": 0.3}
    pack_run(open_run(tmp_path), tmp_path / "packed.zip")
    packed = open_run(tmp_path / "packed.zip")
    assert packed.header.content["site"] == "ward 3"
    (segment,) = packed.segments()
    assert not isinstance(segment, InputError)
    assert segment.frames[1].line["capture"] == {"blur": 0.3}
    assert segment.lines[-1] == {"kind": "hint", "text": "closer"}
    with pytest.raises(ValueError, match="is missing"):  # it may be a picture
        segment.read("00000001.crop.png")


@pytest.mark.parametrize("photographs", [False, True])
def test_a_segment_that_the_ring_takes_meanwhile_is_not_damaged(
    cascade: Cascade, run: Path, tmp_path: Path, photographs: bool
) -> None:
    """A run can be replayed and packed while it is being recorded."""
    first = run / "segment-00000000.zip"
    (run / "segment-00000001.zip").write_bytes(first.read_bytes())
    opened, missing = open_run(run), Missing()
    first.unlink()
    assert len([*replay_run(opened, cascade, missing)]) == 3
    assert missing.damaged == []
    assert pack_run(opened, tmp_path / "bug.zip", photographs=photographs) == []
    assert len(replayed(tmp_path / "bug.zip", cascade)[0]) == 3


def test_decisions_that_another_bundle_changes_are_listed(
    cascade: Cascade, deciding: Cascade, tmp_path: Path
) -> None:
    recorded(tmp_path, cascade)
    frames, outcome, _ = replayed(tmp_path, deciding)
    assert [one.difference for one in frames] == [None] * 3  # nothing is compared bit for bit
    verdicts = [one.finding.verdict for one in frames if one.finding is not None]
    assert all(verdict.decision is not None for verdict in verdicts)
    assert (outcome.num_changed, outcome.parts["decision"], outcome.parts["label"]) == (3, 3, 0)
    assert outcome.summary == "3 of 3 frames changed (decision in 3, referral in 3)"
    line = line_of("run", frames[0], ["decision"])
    assert (line["image"], line["changed"], line["differs"]) == ("run#0", ["decision"], None)
    assert line["decision"]["flagged"] is verdicts[0].decision
    # And nothing with the bundle that it was recorded with.
    assert replayed(tmp_path, cascade)[1].num_changed == 0


def test_frames_that_change_alike_stand_in_one_row() -> None:
    before, after = Verdict("NEV", False, False), Verdict("MEL", False, True)
    assert Change(3, 9, before, after).row == ("3 to 9", "NEV -> MEL", "", "no referral -> refer")
    assert Change(4, 4, Verdict(None, None, None), before).row == (
        "4", "none -> NEV", "none -> not flagged", "none -> no referral"
    )  # fmt: skip


# Archives


@pytest.mark.parametrize("photographs", [False, True])
def test_an_archive_replays_and_holds_photographs_only_if_asked(
    cascade: Cascade, tmp_path: Path, photographs: bool
) -> None:
    recorded(tmp_path / "journal", cascade, bundle_path=Path("/home/somebody/bundle"))
    out = tmp_path / "bug.zip"
    assert pack_run(open_run(tmp_path / "journal"), out, photographs=photographs) == []
    frames, _, missing = replayed(out, cascade)
    assert [one.difference for one in frames] == [None] * 3
    assert missing.damaged == []
    for one in frames:
        assert (one.stored.photograph is not None) is photographs
        assert (one.stored.picture() is not None) is photographs
    packed = out.read_bytes()
    assert (b"\xff\xd8\xff" in packed) is photographs  # how a JPEG begins
    assert b"somebody" not in packed
    assert b"still" not in packed  # the source
    with pytest.raises(UsageError, match="exists; name another file"):
        pack_run(open_run(tmp_path / "journal"), out)


def test_networks_that_see_another_size_take_the_photographs(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(tmp_path / "journal", cascade)
    pack_run(open_run(tmp_path / "journal"), tmp_path / "bug.zip")
    monkeypatch.setattr(type(cascade.spec), "image_size", property(lambda spec: 33))
    monkeypatch.setattr(cascade, "bundle_digest", "another")
    seen: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(cascade, "predict", seen.append)  # gives no finding
    frames, _, _ = replayed(tmp_path / "journal", cascade)
    assert [one.finding for one in frames] == [None] * 3
    for seed, image_HWC in enumerate(seen):
        assert np.abs(image_HWC.astype(int) - photo(seed)).mean() < 6  # a JPEG of it
    with pytest.raises(InputError, match=r"33x33 pixels, .* saw 32; that takes photographs"):
        replayed(tmp_path / "bug.zip", cascade)

"""`ckd-run image` as a user meets it: real files, one line for each, no traceback.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.end_to_end.ckd_run import (
    BAD_IMAGES,
    COMMAND,
    GOOD_IMAGES,
    KEYS,
    LABELS,
    NODES,
    ckd_run,
    edit_spec,
    environment,
    hears_ctrl_c,
    make,
    photo,
    read,
    refused,
    rows,
)

from ckd.contract.errors import UsageError
from ckd.contract.version import ckd_version
from ckd.finding.sentences import NOTICE, sentence
from ckd.runtime.sources.images import image_files

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")


def test_one_image_gives_a_line_and_its_files(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--bundle", tiny_bundle)
    assert (run.code, run.errors) == (0, [])
    assert run.out.startswith("colour.png  ")
    assert len(run.out.splitlines()) == 1
    assert NOTICE in run.err
    out = tmp_path / "runs" / "image"
    assert sorted(path.name for path in out.iterdir()) == [
        "colour.json",
        "colour_mask.png",
        "colour_overlay.png",
        "findings.csv",
        "predictions.csv",
        "run.json",
    ]
    mask = read(out / "colour_mask.png")
    assert mask.shape == (60, 90)
    assert set(np.unique(mask)) == {0, 255}
    assert read(out / "colour_overlay.png").shape == (60, 90, 3)
    record = json.loads((out / "colour.json").read_text())
    assert record["lesion_area_px"] == int((mask == 255).sum())
    (row,) = rows(out / "predictions.csv")
    assert list(row) == ["image", *LABELS]
    assert row.pop("image") == "colour"
    assert {k: float(v) for k, v in row.items()} == pytest.approx(record["probabilities"])
    settings = json.loads((out / "run.json").read_text())
    assert settings["command"] == ["image", "colour.png", "--bundle", str(tiny_bundle)]
    assert settings["ckd"] == ckd_version()


def test_in_a_folder_bad_files_are_reported_and_the_rest_is_done(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = make(tmp_path / "photos", {**GOOD_IMAGES, **BAD_IMAGES})
    (folder / "notes.txt").write_text("not an image, and not asked for")
    run = ckd_run(tmp_path, "image", folder, "--bundle", tiny_bundle, "--out", "out", "--json")
    assert run.code == 1
    # What had to be decided to show a photograph is said. Besides: one line for each bad file,
    # then where the results are, then the summary; nothing else.
    notes = [line for line in run.err.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {folder}/cmyk.jpg: CMYK without a profile: its colours are approximate",
        f"note: {folder}/cut_out.png: transparent parts are shown on white",
    ]
    assert len(run.err.splitlines()) - len(notes) == len(BAD_IMAGES) + 2
    for name in BAD_IMAGES:
        assert len([line for line in run.errors if name in line]) == 1, name
    total = len(BAD_IMAGES) + len(GOOD_IMAGES)
    assert run.err.splitlines()[-1] == (
        f"error: {len(BAD_IMAGES)} of {total} images could not be analysed, see above"
    )
    assert {Path(record["image"]).name for record in run.records} == {
        Path(name).name for name in GOOD_IMAGES
    }
    stems = {Path(name).stem for name in GOOD_IMAGES}
    assert {row["image"] for row in rows(tmp_path / "out" / "predictions.csv")} == stems
    for stem in stems:
        assert read(tmp_path / "out" / f"{stem}_mask.png").shape == (60, 90), stem
    # The same picture in other clothes.
    by_name = {Path(record["image"]).stem: record["probabilities"] for record in run.records}
    for same in ("rgba", "palette", "deeper"):
        assert by_name[same] == pytest.approx(by_name["colour"], abs=1e-5), same
    assert by_name["cut_out"] == pytest.approx(by_name["on_white"], abs=1e-5)
    assert by_name["16_bit"] == pytest.approx(by_name["grey"], abs=1e-5)


@pytest.mark.parametrize("name", [*BAD_IMAGES, "missing.jpg"])
def test_a_bad_image_alone_is_one_line_and_code_1(
    tiny_bundle: Path, tmp_path: Path, name: str
) -> None:
    make(tmp_path, {name: BAD_IMAGES.get(name, lambda path: None)})
    refused(ckd_run(tmp_path, "image", name, "--bundle", tiny_bundle), 1, name)


def test_a_folder_without_images_is_one_line_and_code_1(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.jpg" / "below.png").mkdir(parents=True)
    run = ckd_run(tmp_path, "image", "folder.jpg", "--bundle", tiny_bundle)
    refused(run, 1, "folder.jpg: no images in this folder")


def test_every_json_line_has_what_is_promised(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"], "grey.png": GOOD_IMAGES["grey.png"]})
    run = ckd_run(
        tmp_path, "image", "colour.png", "gone.png", "grey.png", "--bundle", tiny_bundle, "--json"
    )
    assert (run.code, len(run.errors)) == (1, 2)
    assert [record["image"] for record in run.records] == ["colour.png", "grey.png"]
    for record in run.records:
        assert set(record) >= KEYS
        assert record["size_hw"] == [60, 90]
        assert list(record["probabilities"]) == list(LABELS)
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert record["top"] == max(LABELS, key=record["probabilities"].__getitem__)
        mask = read(tmp_path / record["mask"])
        assert record["lesion_area_px"] == int((mask == 255).sum())
        assert list(record["timings_ms"]) == ["preprocess", *NODES, "postprocess", "total"]
        assert min(record["timings_ms"].values()) > 0
        assert record["bundle"].startswith("tiny@")
        assert (record["backend"], record["precision"]) == ("onnxruntime", "fp32")


def test_images_of_one_name_do_not_overwrite_each_other(tiny_bundle: Path, tmp_path: Path) -> None:
    write = GOOD_IMAGES["colour.png"]
    folder = make(tmp_path / "in", {f"{n}/case.png": write for n in "abc"})
    make(folder, {"case.bmp": write})
    run = ckd_run(tmp_path, "image", "in", "--bundle", tiny_bundle, "--json")
    assert run.code == 0
    masks = [record["mask"] for record in run.records]
    assert len(set(masks)) == len(masks) == 4
    assert all((tmp_path / mask).exists() for mask in masks)
    names = [row["image"] for row in rows(tmp_path / "runs" / "image" / "predictions.csv")]
    assert len(set(names)) == 4


def test_results_are_not_written_among_the_images(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path / "photos", {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "photos", "--bundle", tiny_bundle, "--out", "photos")
    refused(run, 2, "photos: results cannot go among the images; name another --out")
    with pytest.raises(UsageError, match=r"mole\.jpg: results cannot go among the images; name"):
        list(image_files([Path("mole.jpg")], Path()))  # nor over the mask that lies beside one


def test_a_photograph_named_run_keeps_its_place_and_leaves_the_settings(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    make(tmp_path, {"run.png": GOOD_IMAGES["colour.png"]})
    ckd_run(tmp_path, "image", "run.png", "--bundle", tiny_bundle, "--out", "out")
    assert "command" in json.loads((tmp_path / "out" / "run.json").read_text())
    assert json.loads((tmp_path / "out" / "run.png.json").read_text())["image"] == "run.png"


def test_earlier_results_are_not_taken_for_images(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    for left_out in ([], [".: 2 files left out: 2 results of this program"]):
        run = ckd_run(tmp_path, "image", ".", "--bundle", tiny_bundle, "--json", "--out", "o")
        assert (run.code, [record["image"] for record in run.records]) == (0, ["colour.png"])
        assert run.err.splitlines()[:-1] == left_out
    run = ckd_run(tmp_path, "image", ".", "--bundle", tiny_bundle)  # to another folder
    assert (run.code, run.err.splitlines()[0]) == (0, left_out[0])


@pytest.mark.parametrize("as_json", [False, True])
def test_an_image_without_a_lesion_is_not_diagnosed_in_silence(
    bundle_copy: Path, tmp_path: Path, as_json: bool
) -> None:
    always = {"weights": {}, "at_least": -1}
    section = {"informative": False, "content": {"no_skin": always, "no_lesion": always}}

    def edit(tree: dict[str, Any]) -> None:
        tree["thresholds"].update(mask=1 - 1e-9)
        tree["sections"] = {"outcome": section}

    edit_spec(bundle_copy, edit)
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    options = ("--json",) if as_json else ()
    run = ckd_run(tmp_path, "image", "colour.png", "--bundle", bundle_copy, *options)
    assert (run.code, run.errors) == (0, [])
    assert sentence("no_lesion") in run.out
    stored = json.loads((tmp_path / "runs" / "image" / "colour.json").read_text())
    assert stored["lesion_area_px"] == 0
    assert (stored["outcome"], stored["top"]) == ("no_finding", None)
    assert stored["probabilities"] is None
    assert stored["raw"]["top"] in stored["raw"]["probabilities"]
    assert stored["notice"] == NOTICE
    (row,) = rows(tmp_path / "runs" / "image" / "predictions.csv")
    assert [*row.values()] == ["colour", "", "", ""]
    (row,) = rows(tmp_path / "runs" / "image" / "findings.csv")
    assert [*row.values()] == ["colour", "no_finding", "no_lesion", *[""] * 6, "0", ""]
    assert "mask_agreement" not in stored["quality"]  # two empty masks agree about nothing


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_file_name_that_is_no_text_is_no_obstacle(tiny_bundle: Path, tmp_path: Path) -> None:
    name = b"caf\xe9.png"  # Latin-1, as old cards and archives have it
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(  # noqa: PTH118
        cv2.imencode(".png", photo())[1].tobytes()
    )
    for arguments in ((name, b"gone\xff.png"), (name, b"gone\xff.png", "--json")):
        run = ckd_run(tmp_path, "image", *arguments, "--bundle", tiny_bundle)
        assert (run.code, len(run.errors)) == (1, 2)
        assert "caf" in run.out
    (row,) = rows(tmp_path / "runs" / "image" / "predictions.csv")
    assert os.fsencode(row["image"]) == b"caf\xe9"


def test_ctrl_c_among_many_images_keeps_what_is_done(tiny_bundle: Path, tmp_path: Path) -> None:
    large = cv2.imencode(".png", np.ascontiguousarray(photo(1200, 1600)))[1].tobytes()
    (tmp_path / "in").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"{number:03d}.png").write_bytes(large)
    process = subprocess.Popen(
        [COMMAND, "image", "in", "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err, err
    done = 1 + len(out.splitlines())
    assert done < 200
    assert len(rows(tmp_path / "runs" / "image" / "predictions.csv")) in (done, done + 1)


def test_a_reader_that_has_gone_is_no_error_worth_a_traceback(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    """As in ``ckd-run image photos --json | head -1``."""
    folder = make(tmp_path / "in", {f"{n}.png": GOOD_IMAGES["colour.png"] for n in range(30)})
    process = subprocess.Popen(
        [COMMAND, "image", folder, "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert process.wait(timeout=30) in (0, 1)
    assert "Traceback" not in err, err
    assert "Exception ignored" not in err, err

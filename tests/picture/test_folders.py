"""What counts as a photograph in a folder, what is left out, and how that is said."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.picture.folders import masks_in, photographs_in
from ckd.runtime.sources.images import images_below

REPOSITORY = Path(__file__).parents[2]
ROOTS = ("train", "export", "calibration", "benchmarks")
EVALUATE = REPOSITORY / "train/ckd/train/evaluation/folder.py"
KEYS = {"probabilities": {}, "bundle": "b@1", "backend": "onnxruntime", "precision": "fp32"}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"any")


def names(folder: Path, **options: Path | bool) -> list[str]:
    found = photographs_in(folder, **options)  # type: ignore[arg-type]
    return [path.relative_to(folder).as_posix() for path in found.files]


def test_every_format_that_is_read_counts_by_its_suffix_in_any_case(tmp_path: Path) -> None:
    suffixes = (
        "jpg JPEG jfif png webp bmp tif TIFF jp2 j2k jpx avif heic HEIF dcm".split()  # noqa: SIM905
    )
    files = sorted(f"sub/{number:02d}.{suffix}" for number, suffix in enumerate(suffixes))
    touch(tmp_path, *files, "notes.txt", "labels.csv", "sub/noending")
    assert names(tmp_path) == files
    assert photographs_in(tmp_path).sentence == ""  # nobody takes a text for a photograph


def test_what_is_left_out_is_counted_by_reason_and_said_in_one_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a_superpixels.png", "b_SuperPixels.PNG", "._a.jpg", ".b.jpg")
    touch(tmp_path, "film.mp4", "scan.CR2", "old.cr2", ".git/c.jpg", "__MACOSX/._a.jpg")
    touch(tmp_path, "ISIC_1_segmentation.png", "._notes.txt")
    (tmp_path / "folder").symlink_to(tmp_path / "gone")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mknod(tmp_path / "s.png", 0o600 | stat.S_IFSOCK)
    found = photographs_in(tmp_path)
    assert [path.name for path in found.files] == ["a.jpg"]
    assert found.sentence == (
        f"{tmp_path}: 14 files left out: 2 superpixel maps, 1 mask, 2 hidden files, "
        "2 hidden folders, 2 broken links, 2 pipes, sockets or devices, "
        "3 files of formats that are not read (.cr2, .mp4)"
    )


def test_links_to_folders_are_followed_once_and_never_upwards(tmp_path: Path) -> None:
    touch(tmp_path, "card/a.jpg", "photos/patient/b.jpg")
    photos = tmp_path / "photos"
    (photos / "camera").symlink_to(tmp_path / "card")
    (photos / "patient" / "again").symlink_to(photos / "camera")
    (photos / "a_link").symlink_to(photos / "patient")
    (photos / "patient" / "up").symlink_to(photos)
    (photos / "patient" / "out").symlink_to(tmp_path)
    (photos / "linked.jpg").symlink_to(tmp_path / "card" / "a.jpg")
    assert names(photos) == ["camera/a.jpg", "linked.jpg", "patient/b.jpg"]
    assert photographs_in(photos).left_out == {"again": 4}
    (tmp_path / "link").symlink_to(photos)
    assert len(names(tmp_path / "link")) == 3


def test_results_are_known_by_what_was_written_with_them_wherever_they_lie(tmp_path: Path) -> None:
    kinds = ("mask", "overlay", "explanation")
    touch(tmp_path, "mole.jpg", *(f"mole_{kind}.png" for kind in kinds))
    (tmp_path / "mole.json").write_text(json.dumps(KEYS))
    # Further images of one name keep their ending, and a snapshot keeps its frame.
    touch(tmp_path, "mole.jpg_overlay.png", "live_1.png", "live_1_overlay.png")
    for stem in ("mole.jpg", "live_1"):
        (tmp_path / f"{stem}.json").write_text(json.dumps({**KEYS, "schema": 2}))
    # Without their JSON, by the table.
    touch(tmp_path, "out/b_overlay.png", "out/run.json", "out/c_overlay.png")
    (tmp_path / "out/predictions.csv").write_text("image,MEL,NEV\nb,0.1,0.9\n")
    assert names(tmp_path) == ["live_1.png", "mole.jpg", "out/c_overlay.png"]
    assert photographs_in(tmp_path).left_out == {"result": 6}
    assert photographs_in(tmp_path, besides=tmp_path / "out").left_out == {"result": 7}
    touch(tmp_path, "evaluated/roc.png", "evaluated/per_image.csv", "evaluated/scores.json")
    assert photographs_in(tmp_path).left_out == {"result": 7}
    touch(
        tmp_path, *(f"damaged/corruptions{end}" for end in (".png", "_sheet.png", ".csv", ".json"))
    )
    assert photographs_in(tmp_path).left_out == {"result": 9}


def test_every_picture_that_a_command_draws_is_known_by_what_lies_beside_it(tmp_path: Path) -> None:
    sources = [path for root in ROOTS for path in (REPOSITORY / root / "ckd").rglob("*.py")]
    drawn = {name for path in sources for name in re.findall(r'"(\w+\.png)"', path.read_text())}
    evaluated = {name for name in drawn if f'"{name}"' in EVALUATE.read_text()}
    assert len(drawn) > len(evaluated) > 5
    records = [
        "check",
        "recipe",
        "sections",
        "study",
        "sensitivity",
        "latency",
        "compare",
        "gpu",
        "corruptions",
        "settling",
    ]
    figures = (REPOSITORY / "train/ckd/train/sections/decision_figures.py").read_text()
    named = re.findall(r'^    "(\w+)": \w+_figure,$', figures, re.MULTILINE)
    assert len(named) == 3
    drawn |= {f"{name}.png" for name in named}
    touch(tmp_path, "mole.png", *(drawn - evaluated), *(f"{name}.json" for name in records))
    assert names(tmp_path) == ["mole.png"]
    touch(tmp_path, "bundle/cascade.json", "bundle/hashes.json", "bundle/any.png")
    touch(tmp_path, "evaluated/scores.json", "evaluated/per_image.csv", "evaluated/any.png")
    assert names(tmp_path) == ["mole.png"]
    touch(tmp_path, "mine/outcome.png", "mine/mask.png", "mine/study.png")  # without a record
    assert len(names(tmp_path)) == 4


def test_files_of_others_that_are_named_as_results_are_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "a_overlay.png", "b_overlay.png", "c_overlay.png", "d_overlay.png", "d.json/x")
    (tmp_path / "a.json").write_text(json.dumps({"camera": "X100"}))
    (tmp_path / "b.json").write_text("[" * 100_000)
    (tmp_path / "predictions.csv").write_text("image\nc\n")  # without run.json
    assert len(names(tmp_path)) == 4


def test_a_mask_beside_its_photograph_is_one_that_has_no_colours(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (180, 90, 80))
    grey = Image.new("L", (16, 16), 255)
    for stem in ("a", "b", "c", "face", "c.v2"):
        red.save(tmp_path / f"{stem}.jpg")
    grey.save(tmp_path / "a_mask.png")
    grey.convert("RGB").save(tmp_path / "b-Segmentation.bmp")
    grey.convert("P").save(tmp_path / "c_gt.png")
    grey.save(tmp_path / "c.v2_lesion.jpg")
    grey.save(tmp_path / "a.masks.png")
    grey.save(tmp_path / "b_ground truth.png")
    grey.save(tmp_path / "c truth.png")
    red.save(tmp_path / "face_mask.jpg")  # a lesion on a face with a mask
    grey.save(tmp_path / "alone_mask.png")  # of no photograph that lies here
    touch(tmp_path, "a_seg.tif")  # that cannot be read: it is tried, and its fault told
    expected = ["a.jpg", "a_seg.tif", "alone_mask.png", "b.jpg", "c.jpg", "c.v2.jpg", "face.jpg"]
    assert names(tmp_path) == [*expected, "face_mask.jpg"]
    assert photographs_in(tmp_path).left_out == {"mask": 7}
    assert "a_mask.png" in [path.name for path in masks_in(tmp_path).files]


def test_the_masks_of_the_plain_layout_are_no_photographs(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "masks/a.png", "other/masks/b.jpg")
    assert names(tmp_path) == ["images/a.jpg", "other/masks/b.jpg"]
    assert names(tmp_path / "masks") == ["a.png"]  # named by the user
    assert names(tmp_path, below=False) == []
    assert photographs_in(tmp_path, below=False).left_out == {"inner": 3}


def test_folders_that_cannot_be_opened_are_counted_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.jpg", "locked/b.jpg")
    scandir = os.scandir

    def refusing(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    found = photographs_in(tmp_path)
    assert [path.name for path in found.files] == ["a.jpg"]
    assert found.sentence.endswith("1 file left out: 1 folder that cannot be opened")
    with pytest.raises(InputError, match=r"locked: cannot be opened \(Permission denied\)"):
        photographs_in(tmp_path / "locked")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        photographs_in(tmp_path / "nowhere")


def test_a_folder_of_which_nothing_is_left_is_refused_with_what_was_left_out(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a_superpixels.png", "b_superpixels.png")
    with pytest.raises(InputError, match=r"no images in this folder \(\.avif, .*\); 2 files left"):
        images_below(tmp_path)
    touch(tmp_path, "c.jpg")
    said: list[str] = []
    assert images_below(tmp_path, say=said.append) == [tmp_path / "c.jpg"]
    assert said == [f"{tmp_path}: 2 files left out: 2 superpixel maps"]


def test_files_named_as_photographs_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(50)))
    opened: list[Path] = []
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: opened.append(path))
    assert len(names(tmp_path)) == 50
    assert opened == []

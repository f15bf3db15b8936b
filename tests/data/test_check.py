"""A data set is made good, then broken in one way at a time: the check must say which."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.data.check import check_dataset
from ckd.data.synthetic.write import write_isic2017

DATA = "ISIC-2017_{}_Data"
MASKS = "ISIC-2017_{}_Part1_GroundTruth"
TABLE = "ISIC-2017_{}_Part3_GroundTruth.csv"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("good")
    write_isic2017(root, num_train=8, num_val=4, side_px=32)
    return root


@pytest.fixture
def data(good: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(good, tmp_path / "data"))


def image(root: Path, number: int) -> Path:
    return root / DATA.format("Training") / f"ISIC_{number:07d}.jpg"


def mask(root: Path, number: int) -> Path:
    return root / MASKS.format("Training") / f"ISIC_{number:07d}_segmentation.png"


def save_mask(root: Path, number: int, mask_HW: np.ndarray) -> None:
    Image.fromarray(mask_HW.astype(np.uint8)).save(mask(root, number))


def test_a_good_data_set_has_no_findings(good: Path) -> None:
    heard: list[tuple[int, int]] = []
    report = check_dataset(good, lambda done, total: heard.append((done, total)))
    assert report.problems == ()
    assert not report.has_errors
    assert [(s.split, s.images, s.with_mask, s.with_label) for s in report.splits] == [
        ("train", 8, 8, 8),
        ("val", 4, 4, 4),
    ]
    assert report.splits[0].classes == {"MEL": 2, "SBK": 2, "NEV": 4}
    assert heard == [(done, 12) for done in range(1, 13)]
    assert "nothing wrong was found" in report.to_text()


def break_image_with_text(root: Path) -> None:
    image(root, 0).write_text("this is not a picture")


def break_image_by_cutting(root: Path) -> None:
    whole = image(root, 0).read_bytes()
    image(root, 0).write_bytes(whole[: len(whole) // 2])


def empty_the_image_file(root: Path) -> None:
    image(root, 0).write_bytes(b"")


def cut_the_mask(root: Path) -> None:
    mask(root, 0).write_bytes(mask(root, 0).read_bytes()[:60])


def shrink_the_mask(root: Path) -> None:
    save_mask(root, 0, np.eye(16) * 255)


def blacken_the_mask(root: Path) -> None:
    save_mask(root, 0, np.zeros((32, 32)))


def whiten_the_mask(root: Path) -> None:
    save_mask(root, 0, np.full((32, 32), 255))


def save_the_mask_with_ones(root: Path) -> None:
    save_mask(root, 0, np.eye(32))


def blur_the_mask(root: Path) -> None:
    save_mask(root, 0, np.tile(np.linspace(0, 255, 32), (32, 1)))


def remove_the_mask(root: Path) -> None:
    mask(root, 0).unlink()


def remove_the_image(root: Path) -> None:
    image(root, 0).unlink()


def remove_the_label(root: Path) -> None:
    path = root / TABLE.format("Training")
    path.write_text(path.read_text().replace("ISIC_0000000,0.0,0.0\n", ""))


def copy_into_validation(root: Path) -> None:
    shutil.copy(image(root, 0), root / DATA.format("Validation") / "ISIC_0000008.jpg")


def copy_within_training(root: Path) -> None:
    shutil.copy(image(root, 0), image(root, 2))


def leave_an_image_without_truth(root: Path) -> None:
    Image.new("RGB", (32, 32)).save(image(root, 99))


def rename_the_mask(root: Path) -> None:
    mask(root, 0).rename(mask(root, 0).with_name("isic_0000000-mask.png"))


def move_the_mask_among_the_images(root: Path) -> None:
    mask(root, 0).rename(image(root, 0).with_name(mask(root, 0).name))


def invert_the_mask(root: Path) -> None:
    save_mask(root, 0, 255 - np.asarray(Image.open(mask(root, 0))))


def colour_the_mask(root: Path) -> None:
    red = Image.new("RGB", (32, 32))
    red.paste((255, 0, 0), (8, 8, 20, 20))
    red.save(mask(root, 0))


def spoil_the_table(root: Path) -> None:
    path = root / TABLE.format("Validation")
    path.write_text(path.read_text().replace("ISIC_0000009,1.0", "ISIC_0000009,maybe"))


@pytest.mark.parametrize(
    ("harm", "codes", "severity"),
    [
        (break_image_with_text, ["unreadable-image"], "error"),
        (break_image_by_cutting, ["unreadable-image"], "error"),
        (empty_the_image_file, ["unreadable-image"], "error"),
        (cut_the_mask, ["unreadable-mask"], "error"),
        (shrink_the_mask, ["mis-sized-mask"], "error"),
        (save_the_mask_with_ones, ["faint-mask"], "error"),
        (colour_the_mask, ["unreadable-mask"], "error"),
        (invert_the_mask, ["inverted-mask"], "error"),
        (copy_into_validation, ["duplicate-across-splits"], "error"),
        (spoil_the_table, ["unusable-table"], "error"),
        (blacken_the_mask, ["empty-mask"], "warning"),
        (whiten_the_mask, ["full-mask"], "warning"),
        (blur_the_mask, ["grey-mask"], "warning"),
        (rename_the_mask, ["misnamed-mask"], "warning"),
        (move_the_mask_among_the_images, ["misnamed-mask"], "warning"),
        (remove_the_mask, ["no-mask"], "warning"),
        (remove_the_image, ["row-without-image", "mask-without-image"], "warning"),
        (remove_the_label, ["no-label"], "warning"),
        (copy_within_training, ["duplicate-within-split"], "warning"),
        (leave_an_image_without_truth, ["no-truth"], "warning"),
    ],
)
def test_one_fault_gives_its_finding_and_no_other(
    data: Path, harm: Callable[[Path], None], codes: list[str], severity: str
) -> None:
    harm(data)
    report = check_dataset(data)
    assert [problem.code for problem in report.problems] == codes
    assert {(problem.severity, problem.count) for problem in report.problems} == {(severity, 1)}
    assert report.has_errors == (severity == "error")


def test_a_finding_names_files_and_the_remedy_and_counts_the_rest(data: Path) -> None:
    for number in range(7):
        shrink = np.eye(16) * 255
        save_mask(data, number, shrink)
    report = check_dataset(data)
    [problem] = report.problems
    assert problem.count == 7
    assert len(problem.examples) == 5
    text = report.to_text()
    assert "error: 7 masks differ in size from their image" in text
    assert f"{MASKS.format('Training')}/ISIC_0000000_segmentation.png" in text
    assert "and 2 more" in text
    assert problem.remedy in text
    assert "1 error, 0 warnings" in text


def test_the_table_that_cannot_be_read_is_named_with_its_line(data: Path) -> None:
    spoil_the_table(data)
    report = check_dataset(data)
    assert "Validation_Part3_GroundTruth.csv, line 3" in report.problems[0].sentence
    assert [split.split for split in report.splits] == ["train"]  # the rest is still checked


def test_errors_come_before_warnings_and_json_takes_the_report(data: Path) -> None:
    remove_the_mask(data)
    break_image_with_text(data)
    report = check_dataset(data)
    assert [problem.severity for problem in report.problems] == ["error", "warning"]
    told = json.loads(json.dumps(report.as_dict()))
    assert told["has_errors"] is True
    assert told["findings"][0]["code"] == "unreadable-image"
    assert told["splits"][0]["classes"] == {"MEL": 2, "SBK": 2, "NEV": 4}


def test_lesions_in_two_splits_and_classes_and_splits_without_images_are_found(
    tmp_path: Path,
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(tmp_path / f"images/m{number}.jpg")
    rows = "image,label,split,group\nm0,mole,train,p1\nm1,wart,train,p2\nm2,mole,val,p1\n"
    (tmp_path / "labels.csv").write_text(rows)
    report = check_dataset(tmp_path)
    problems = {problem.code: problem for problem in report.problems}
    assert set(problems) == {"straddling-group", "empty-split", "absent-class"}
    assert problems["straddling-group"].examples == ("p1",)
    assert problems["empty-split"].examples == ("test",)
    assert problems["absent-class"].examples == ("wart (val)",)


def test_labels_in_two_spellings_and_reasons_of_unreadable_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), "red" if name == "a" else "blue").save(
            tmp_path / f"images/{name}.png"
        )
    (tmp_path / "images/c.jpg").write_bytes(b"GIF89a")
    (tmp_path / "labels.csv").write_text(
        "image,label,split\na,Mole,train\nb,mole,train\nc,mole,val"
    )
    problems = {problem.code: problem for problem in check_dataset(tmp_path).problems}
    assert problems["alike-labels"].examples == ("'Mole' and 'mole'",)
    assert problems["unreadable-image"].examples[0].startswith("images/c.jpg (is a GIF picture;")


def test_a_bad_table_of_all_splits_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "images/a.jpg")
    (tmp_path / "labels.csv").write_text("image,class\na,mole\n")
    report = check_dataset(tmp_path)
    assert [problem.code for problem in report.problems] == ["unusable-table"]
    assert report.has_errors
    assert "line 1" in report.to_text()


@pytest.mark.parametrize("header", ["image_id,melanoma,seborrheic_keratosis", "image,label"])
def test_a_table_without_rows_is_named(data: Path, tmp_path: Path, header: str) -> None:
    """Whatever table it is: it was cut off, and nothing would be learnt of it."""
    if header == "image,label":
        data = tmp_path / "plain"
        (data / "images").mkdir(parents=True)
        (data / "masks").mkdir()
        Image.new("RGB", (32, 32)).save(data / "images/a.jpg")
        Image.new("L", (32, 32), 255).save(data / "masks/a.png")
    name = "labels" if header == "image,label" else "ISIC-2017_Training_Part3_GroundTruth"
    (data / f"{name}.csv").write_text(f"{header}\n\n")
    (problem,) = [p for p in check_dataset(data).problems if p.code == "unusable-table"]
    assert f"{name}.csv: the table has no rows; copy" in problem.sentence


def test_a_table_of_other_images_labels_none(tmp_path: Path) -> None:
    """Its names may differ in case, so that images with masks are left without a diagnosis."""
    for folder, mode in (("images", "RGB"), ("masks", "L")):
        (tmp_path / folder).mkdir()
        Image.new(mode, (32, 32)).save(tmp_path / folder / "A\x1b\n.png")
    (tmp_path / "labels.csv").write_text("image,label\na,mole\n")
    report = check_dataset(tmp_path)
    problems = {problem.code: problem for problem in report.problems}
    assert problems["no-label"].examples == ("images/A\x1b\n.png",)
    assert "    images/A\\x1b\\n.png\n" in report.to_text()


def test_an_unknown_folder_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a data set that can be read"):
        check_dataset(tmp_path)


def test_the_real_isic2017_has_no_errors() -> None:
    beside = Path(__file__).resolve().parents[3] / "shared/data/isic2017_256"
    root = Path(os.environ.get("CKD_DATA_ISIC2017", beside))
    if not root.is_dir():
        pytest.skip("needs ISIC 2017: set CKD_DATA_ISIC2017 to its folder")
    report = check_dataset(root)
    assert not report.has_errors
    assert report.suspects == ()

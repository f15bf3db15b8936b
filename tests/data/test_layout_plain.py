"""The layout for data of one's own, made-up splits, and tables that people write by hand."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from PIL import Image

from ckd.contract.errors import InputError
from ckd.data.layouts import list_split, read_split


def pictures(folder: Path, names: Iterable[str], suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB" if suffix == ".jpg" else "L", (32, 32), 128).save(folder / (name + suffix))


def table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_cut_split_is_a_tenth_and_keeps_its_images_when_others_join(tmp_path: Path) -> None:
    ids = [f"mole{number}" for number in range(200)]
    (tmp_path / "images").mkdir()
    for id_ in ids:
        (tmp_path / "images" / f"{id_}.jpg").touch()  # listing opens no image
    table(tmp_path / "labels.csv", "image,label", *(f"{id_},a" for id_ in ids))
    val = {sample.id for sample in read_split(tmp_path, "val").samples}
    assert 10 <= len(val) <= 30  # 20 expected, deviation 4.2

    (tmp_path / "images" / "newcomer.jpg").touch()
    table(tmp_path / "labels.csv", "image,label", *(f"{id_},a" for id_ in [*ids, "newcomer"]))
    assert {s.id for s in read_split(tmp_path, "val").samples} - {"newcomer"} == val


def test_plain_layout_takes_both_mask_names_classes_splits_and_groups(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a", "b", "c.v2", "d", "e"])
    pictures(tmp_path / "images", ["._a"])  # what other systems leave
    pictures(tmp_path / "masks", ["a", "b_segmentation", "lost"], ".png")
    table(
        tmp_path / "labels.csv",
        "Image, Label, split, group",
        "a.jpg,wart,train,p1",
        "b,mole,training,",
        "c.v2,mole,Validation,p2",
        "d,,val,p2",
        "",
    )
    train, val = list_split(tmp_path, "train"), list_split(tmp_path, "val")
    assert train.set.name == tmp_path.name
    assert train.set.labels == ("mole", "wart")
    assert [(s.id, s.label, s.group) for s in train.set.samples] == [("a", 1, "p1"), ("b", 0, None)]
    assert all(sample.mask for sample in train.set.samples)
    assert [path.name for path in train.without_truth] == ["e.jpg"]
    assert [path.name for path in train.masks_without_image] == ["lost.png"]
    assert [sample.id for sample in val.set.samples] == ["c.v2"]
    assert [path.name for path in val.without_truth] == ["d.jpg"]
    with pytest.raises(InputError, match=r"'test' split is empty"):
        read_split(tmp_path, "test")


def test_plain_layout_needs_no_table(tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(20)]
    pictures(tmp_path / "images", names)
    pictures(tmp_path / "masks", names, ".png")
    train = read_split(tmp_path, "train")
    assert train.labels == ()
    assert len(train.with_masks()) == len(train)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["image,diagnosis", "a,mole"], r"labels\.csv, line 1: no column 'label'"),
        (["image;label", "a;mole"], r"no column 'image', 'label' among 'image;label'"),
        (["image,label", "a,mole", "a.jpg,wart"], r"line 3: a is already on line 2"),
        (["image,label", "", "a"], r"line 3: 1 cells, expected 2"),
        (["image,label", ",mole"], r"line 2: the image's name is empty"),
        (["image,label,split", "a,mole,tset"], r"line 2: split is 'tset'"),
        (["image,label", '"a,mole'], r"line 2: "),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    pictures(tmp_path / "images", ["a"])
    table(tmp_path / "labels.csv", *lines)
    with pytest.raises(InputError, match=message):
        list_split(tmp_path, "train")


def test_a_table_that_is_not_text_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a"])
    (tmp_path / "labels.csv").write_bytes("image,label\na,N\u00e6vus\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"labels\.csv: not UTF-8 text"):
        read_split(tmp_path, "train")


def test_two_files_for_one_image_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a"])
    pictures(tmp_path / "images", ["a"], ".png")
    pictures(tmp_path / "masks", ["a"], ".png")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png both stand for 'a'; keep one"):
        read_split(tmp_path, "train")

"""Official layouts and the plain one, of a few tiny files; how they break; splits that are cut."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.contract.bundle import Bundle
from ckd.contract.errors import InputError, UsageError
from ckd.contract.labels import ISIC2016, ISIC2017, ISIC2018, ISIC2019
from ckd.data.layouts import list_split, read_split, read_unseen, splits_of
from ckd.data.samples import Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")


def pictures(folder: Path, names: Iterable[str], suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB" if suffix == ".jpg" else "L", (32, 32), 128).save(folder / (name + suffix))


def table(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def isic2017(root: Path, words: Mapping[Split, str] | None = None) -> None:
    for split, word in (words or {"train": "Training", "val": "Validation"}).items():
        stem = f"ISIC-2017_{word}"
        ids = [f"ISIC_{split}{number}" for number in range(4)]
        pictures(root / f"{stem}_Data", ids)
        pictures(root / f"{stem}_Data", [f"{id_}_superpixels" for id_ in ids], ".png")
        masks = root / f"{stem}_Part1_GroundTruth"
        pictures(masks, [f"{id_}_segmentation" for id_ in ids], ".png")
        rows = zip(ids, ("1.0,0.0", "0.0,1.0", "0.0,0.0", "0,0"), strict=True)
        header = "image_id,melanoma,seborrheic_keratosis"
        table(root / f"{stem}_Part3_GroundTruth.csv", header, *(f"{i},{c}" for i, c in rows))


def one_hot(labels: tuple[str, ...], hot: str, extra: str = "") -> str:
    return ",".join("1.0" if label == hot else "0.0" for label in labels) + extra


def test_isic2016_joins_parts_one_and_three_and_cuts_a_validation_split(tmp_path: Path) -> None:
    train_ids = [f"ISIC_{number:07d}" for number in range(60)]
    for word, ids, classes in (
        ("Training", train_ids, ("malignant", "benign")),
        ("Test", ["ISIC_test1", "ISIC_test2"], ("1.0", "0.0")),
    ):
        stem = tmp_path / "ISBI2016_ISIC_Part"
        pictures(Path(f"{stem}1_{word}_Data"), ids)
        # Part 1 of 2016 spells the ending with a capital.
        masks = [f"{id_}_Segmentation" for id_ in ids]
        pictures(Path(f"{stem}1_{word}_GroundTruth"), masks, ".png")
        rows = [f"{id_},{classes[index % 2]}" for index, id_ in enumerate(ids)]
        table(Path(f"{stem}3_{word}_GroundTruth.csv"), *rows)

    train, val, test = (read_split(tmp_path, split) for split in SPLITS)
    assert train.labels == ISIC2016
    assert len(train) + len(val) == 60
    assert test.class_counts() == (1, 1)
    assert all(sample.mask for sample in (*train.samples, *val.samples, *test.samples))
    assert list_split(tmp_path, "val").made_up
    assert not list_split(tmp_path, "test").made_up


def test_isic2016_part_three_alone_is_read(tmp_path: Path) -> None:
    ids = [f"ISIC_{number}" for number in range(20)]
    pictures(tmp_path / "ISBI2016_ISIC_Part3_Training_Data", ids)
    rows = [f"{id_},benign" for id_ in ids]
    table(tmp_path / "ISBI2016_ISIC_Part3_Training_GroundTruth.csv", *rows)
    train = read_split(tmp_path, "train")
    assert not len(train.with_masks())
    assert train.class_counts()[ISIC2016.index("BEN")] == len(train)


def test_isic2017_is_read_with_classes_masks_and_without_superpixels(tmp_path: Path) -> None:
    isic2017(tmp_path, {"train": "Training", "val": "Validation", "test": "Test_v2"})
    for split in SPLITS:
        samples = read_split(tmp_path, split)
        assert samples.name == "isic2017"
        assert samples.labels == ISIC2017
        assert [sample.id for sample in samples.samples] == [f"ISIC_{split}{i}" for i in range(4)]
        assert [sample.label for sample in samples.samples] == [0, 1, 2, 2]
        for sample in samples.samples:
            assert sample.image.name == f"{sample.id}.jpg"
            assert sample.mask is not None
            assert sample.mask.name == f"{sample.id}_segmentation.png"


def test_a_table_may_lie_in_a_folder_of_its_own_name_and_begin_with_a_mark(tmp_path: Path) -> None:
    isic2017(tmp_path)
    flat = tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv"
    folder = tmp_path / flat.stem
    folder.mkdir()
    (folder / flat.name).write_text("\ufeff" + flat.read_text(), encoding="utf-8")
    flat.unlink()
    assert read_split(tmp_path, "train").class_counts() == (1, 1, 2)


def test_a_folder_that_unpacked_into_itself_is_read(tmp_path: Path) -> None:
    isic2017(tmp_path)
    outer = tmp_path / "ISIC-2017_Training_Data"
    outer.rename(tmp_path / "inner")
    outer.mkdir()
    (tmp_path / "inner").rename(outer / outer.name)
    assert len(read_split(tmp_path, "train")) == 4


def test_a_mask_or_a_label_is_enough_and_neither_is_left_out(tmp_path: Path) -> None:
    isic2017(tmp_path)
    pictures(tmp_path / "ISIC-2017_Training_Data", ["ISIC_extra"])
    (tmp_path / "ISIC-2017_Training_Part1_GroundTruth/ISIC_train0_segmentation.png").unlink()
    path = tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv"
    path.write_text(path.read_text().replace("ISIC_train1,", "ISIC_gone,"), encoding="utf-8")

    listing = list_split(tmp_path, "train")
    by_id = {sample.id: sample for sample in listing.set.samples}
    assert by_id["ISIC_train0"].mask is None
    assert by_id["ISIC_train1"].label is None
    assert [image.name for image in listing.without_truth] == ["ISIC_extra.jpg"]
    assert listing.rows_without_image == ("ISIC_gone",)


def test_isic2018_joins_masks_of_task_one_and_labels_of_task_three(tmp_path: Path) -> None:
    masked = [f"ISIC_a{number}" for number in range(30)]
    pictures(tmp_path / "ISIC2018_Task1-2_Training_Input", masked)
    truth = tmp_path / "ISIC2018_Task1_Training_GroundTruth"
    pictures(truth, [f"{id_}_segmentation" for id_ in masked], ".png")
    pictures(tmp_path / "ISIC2018_Task1-2_Validation_Input", ["ISIC_v"])
    pictures(tmp_path / "ISIC2018_Task1_Validation_GroundTruth", ["ISIC_v_segmentation"], ".png")
    labelled = [f"ISIC_b{number}" for number in range(60)]
    pictures(tmp_path / "ISIC2018_Task3_Training_Input", labelled)
    stem = tmp_path / "ISIC2018_Task3_Training"
    rows = (f"{id_},{one_hot(ISIC2018, 'BKL')}" for id_ in labelled)
    table(Path(f"{stem}_GroundTruth.csv"), "image," + ",".join(ISIC2018), *rows)
    lesions = (f"{id_},HAM_{number // 3}," for number, id_ in enumerate(labelled))
    header = "image,lesion_id,diagnosis_confirm_type"
    table(Path(f"{stem}_LesionGroupings.csv"), header, *lesions)

    train, val = read_split(tmp_path, "train"), read_split(tmp_path, "val")
    # Task 1 has its official validation part, Task 3 lacks it and is cut.
    assert len(train.with_masks()) == 30
    assert [sample.id for sample in val.with_masks().samples] == ["ISIC_v"]
    assert len(train.with_labels()) + len(val.with_labels()) == 60
    assert train.labels[val.with_labels().samples[0].label or 0] == "BKL"
    groups = [{s.group for s in part.with_labels().samples} for part in (train, val)]
    assert groups[0].isdisjoint(groups[1])
    assert splits_of(tmp_path) == ("train", "val")


def test_isic2019_has_no_unknown_class_and_cuts_both_splits_by_lesion(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    ids = [f"ISIC_{number:07d}" for number in range(120)]
    pictures(tmp_path / "ISIC_2019_Training_Input", [*ids, "ISIC_unknown"])
    columns = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC")
    rows = [f"{id_},{one_hot(columns, 'SCC', ',0.0')}" for id_ in ids]
    rows.append(f"ISIC_unknown,{one_hot(columns, '', ',1.0')}")
    header = f"image,{','.join(columns)},UNK"
    table(tmp_path / "ISIC_2019_Training_GroundTruth.csv", header, *rows)
    lesions = [f"{id_},55,{f'L{n // 2}' if n < 80 else ''}" for n, id_ in enumerate(ids)]
    metadata = tmp_path / "ISIC_2019_Training_Metadata.csv"
    table(metadata, "image,age_approx,lesion_id", *lesions)

    splits = [read_split(tmp_path, split) for split in SPLITS]
    assert splits[0].labels == ISIC2019
    assert sum(map(len, splits)) == 120  # the unknown one is in none
    assert all(len(split) >= 3 for split in splits[1:])
    assert all(s.label == ISIC2019.index("SCC") for split in splits for s in split.samples)
    groups = [{s.group for s in split.samples if s.group} for split in splits]
    assert len(set.union(*groups)) == sum(map(len, groups))  # no lesion in two splits

    by_image = [read_split(tmp_path, split, "image") for split in SPLITS]
    assert {split.name for split in by_image} == {"isic2019, split by image"}
    assert sum(map(len, by_image)) == 120
    lesion_of = dict(zip(ids, (line.split(",")[2] for line in lesions), strict=True))
    lesions_of = [{lesion_of[s.id] for s in split.samples} - {""} for split in by_image]
    assert lesions_of[0] & (lesions_of[1] | lesions_of[2])  # as in publications
    assert {s.group for split in by_image for s in split.samples} == {None}  # nor kept in folds

    spec = Bundle(tiny_bundle).spec  # what a bundle was trained on decides what is new to it
    image = replace(spec, provenance={"split_by": "image"})
    lesion = replace(spec, provenance={"split_by": "lesion"})
    assert read_unseen(tmp_path, "val", [image, image]) == by_image[1]
    for known in ([spec], [spec, lesion], []):
        assert read_unseen(tmp_path, "val", known) == splits[1]
    with pytest.raises(UsageError, match="no images are new to both; score them one by one"):
        read_unseen(tmp_path, "val", [image, spec])


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("yes,0.0", r"line 2: column 'melanoma' holds 'yes', expected 0\.0 or 1\.0"),
        ("0.7,0.0", r"line 2: column 'melanoma' holds '0\.7'"),
        ("nan,0.0", r"line 2: column 'melanoma' holds 'nan'"),
        ("1.0,1.0", r"line 2: melanoma and seborrheic_keratosis are both 1"),
    ],
)
def test_a_class_that_is_no_zero_or_one_is_refused(
    tmp_path: Path, cells: str, message: str
) -> None:
    isic2017(tmp_path)
    path = tmp_path / "ISIC-2017_Training_Part3_GroundTruth.csv"
    path.write_text(path.read_text().replace("1.0,0.0", cells), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_split(tmp_path, "train")


def test_an_unknown_folder_is_told_what_was_looked_for(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", ["a"])
    with pytest.raises(InputError) as caught:
        read_split(tmp_path, "train")
    for word in (str(tmp_path), "photos", "ISIC-2017_Training_Data", "labels.csv", "Give the fold"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match="no such folder"):
        read_split(tmp_path / "nowhere", "train")


def test_a_missing_official_split_and_two_data_sets_in_one_folder_are_refused(
    tmp_path: Path,
) -> None:
    isic2017(tmp_path, {"train": "Training"})
    for split in ("val", "test"):
        with pytest.raises(InputError, match=f"isic2017 has no '{split}' split there"):
            read_split(tmp_path, split)
    pictures(tmp_path / "ISIC_2019_Training_Input", ["a"])
    header = "image,MEL,NV,BCC,AK,BKL,DF,VASC,SCC,UNK"
    table(tmp_path / "ISIC_2019_Training_GroundTruth.csv", header)
    with pytest.raises(InputError, match="holds isic2017 and isic2019"):
        read_split(tmp_path, "train")


def test_the_real_isic2017_is_read_whole() -> None:
    beside = Path(__file__).resolve().parents[3] / "shared/data/isic2017_256"
    root = Path(os.environ.get("CKD_DATA_ISIC2017", beside))
    if not root.is_dir():
        pytest.skip("needs ISIC 2017: set CKD_DATA_ISIC2017 to its folder")
    train = read_split(root, "train")
    # 2000 in the archive; copies may lack a few that were damaged.
    assert 1900 <= len(train.with_masks()) <= 2000
    assert np.array(train.class_counts()) / len(train) == pytest.approx(
        [0.187, 0.127, 0.686], abs=0.01
    )


# The plain layout


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


# HAM10000 as its authors publish it


@pytest.mark.parametrize("suffix", [".csv", ""])
def test_ham10000_is_read_with_its_words_lesions_and_masks(tmp_path: Path, suffix: str) -> None:
    words = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
    ids = [f"ISIC_{number:07d}" for number in range(70)]
    for part, some in (("1", ids[:40]), ("2", ids[40:])):
        pictures(tmp_path / f"HAM10000_images_part_{part}", some)
    rows = [f"HAM_{n // 2},{id_},{words[n % 7]},histo,50.0" for n, id_ in enumerate(ids)]
    table(tmp_path / f"HAM10000_metadata{suffix}", "lesion_id,image_id,dx,dx_type,age", *rows)
    masks = tmp_path / "HAM10000_segmentations_lesion_tschandl"
    pictures(masks, [f"{id_}_segmentation" for id_ in ids[:30]], ".png")

    splits = [read_split(tmp_path, split) for split in SPLITS]
    assert {(split.name, split.labels) for split in splits} == {("ham10000", ISIC2018)}
    samples = [sample for split in splits for sample in split.samples]
    assert sorted(sample.id for sample in samples) == ids
    label_of = {sample.id: ISIC2018[sample.label or 0] for sample in samples}
    assert [label_of[id_] for id_ in ids[:7]] == [word.upper() for word in words]
    assert sum(sample.mask is not None for sample in samples) == 30
    groups = [{sample.group for sample in split.samples} for split in splits]
    assert sum(map(len, groups)) == 35  # no lesion is in two splits
    assert splits_of(tmp_path) == SPLITS

    table(tmp_path / f"HAM10000_metadata{suffix}", "lesion_id,image_id,dx")
    with pytest.raises(InputError, match=rf"metadata{suffix}: the table has no rows"):
        list_split(tmp_path, "train")
    table(tmp_path / f"HAM10000_metadata{suffix}", "lesion_id,image_id,dx", f"HAM_1,{ids[0]},mole")
    with pytest.raises(InputError, match=r"line 2: dx is 'mole', expected one of akiec, bcc"):
        read_split(tmp_path, "train")


# What else lies in the folders


def test_what_is_no_photograph_is_left_out_and_said(tmp_path: Path) -> None:
    isic2017(tmp_path)
    pictures(tmp_path / "ISIC-2017_Training_Part1_GroundTruth", ["._ISIC_train0_segmentation"])
    said: list[str] = []
    assert len(read_split(tmp_path, "train", say=said.append)) == 4
    assert said == [
        f"{tmp_path}/ISIC-2017_Training_Data: 4 files left out: 4 superpixel maps",
        f"{tmp_path}/ISIC-2017_Training_Part1_GroundTruth: 1 file left out: 1 hidden file",
    ]


def test_a_column_that_is_there_twice_is_refused_by_its_name(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a"])
    table(tmp_path / "labels.csv", "image,label, Label,,", "a,mole,wart,,")
    with pytest.raises(InputError, match=r"line 1: 2 columns are named 'label', so it is not"):
        read_split(tmp_path, "train")


def test_a_pipe_in_place_of_a_table_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["a"])
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"labels\.csv: is a pipe or device, expected a table"):
        read_split(tmp_path, "train")

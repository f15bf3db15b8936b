"""The ISIC challenges of 2016 to 2019: the folders and tables of each."""

from collections.abc import Callable

from ckd.contract.labels import ISIC2016, ISIC2017, ISIC2018, ISIC2019
from ckd.data.challenge import Challenge, Part
from ckd.data.tables import Row


def one_of(labels: tuple[str, ...]) -> Callable[[Row], int | None]:
    """Reader of a table with one column per class; a row without a 1 has no label (UNK in 2019)."""

    def read(row: Row) -> int | None:
        hits = [index for index, label in enumerate(labels) if row.flag(label.lower())]
        if len(hits) > 1:
            raise row.error(f"{' and '.join(labels[i] for i in hits)} are both 1, expected one")
        return hits[0] if hits else None

    return read


def _class_2016(row: Row) -> int:
    """Class of a row; the training table holds words, the test table 0.0 and 1.0."""
    words = {"malignant": True, "benign": False}
    malignant = words.get(row.cells["malignant"].lower())
    if malignant is None:
        malignant = row.flag("malignant")
    return ISIC2016.index("MEL" if malignant else "BEN")


def _class_2017(row: Row) -> int:
    """Class of a row; a lesion that is neither melanoma nor seborrheic keratosis is a nevus."""
    melanoma, keratosis = row.flag("melanoma"), row.flag("seborrheic_keratosis")
    if melanoma and keratosis:
        raise row.error("melanoma and seborrheic_keratosis are both 1, expected one at most")
    return ISIC2017.index("MEL" if melanoma else "SBK" if keratosis else "NEV")


_2016 = "ISBI2016_ISIC_Part"

CHALLENGES = (
    Challenge(
        name="isic2016",
        labels=ISIC2016,
        words={"train": "Training", "test": "Test"},
        cut=frozenset({"val"}),
        parts=(
            Part(
                images=(f"{_2016}1_{{}}_Data", f"{_2016}3_{{}}_Data"),
                masks=f"{_2016}1_{{}}_GroundTruth",
                table=f"{_2016}3_{{}}_GroundTruth.csv",
            ),
        ),
        read_class=_class_2016,
        columns=("malignant",),
        header=("image", "malignant"),
    ),
    Challenge(
        name="isic2017",
        labels=ISIC2017,
        words={"train": "Training", "val": "Validation", "test": "Test_v2"},
        parts=(
            Part(
                images=("ISIC-2017_{}_Data",),
                masks="ISIC-2017_{}_Part1_GroundTruth",
                table="ISIC-2017_{}_Part3_GroundTruth.csv",
            ),
        ),
        read_class=_class_2017,
        columns=("melanoma", "seborrheic_keratosis"),
    ),
    # Masks (Task 1) and labels (Task 3) are of different images, and one of them may be missing.
    Challenge(
        name="isic2018",
        labels=ISIC2018,
        words={"train": "Training", "val": "Validation", "test": "Test"},
        cut=frozenset({"val"}),
        parts=(
            Part(images=("ISIC2018_Task1-2_{}_Input",), masks="ISIC2018_Task1_{}_GroundTruth"),
            Part(
                images=("ISIC2018_Task3_{}_Input",),
                table="ISIC2018_Task3_{}_GroundTruth.csv",
                groups="ISIC2018_Task3_{}_LesionGroupings.csv",
            ),
        ),
        read_class=one_of(ISIC2018),
        columns=tuple(label.lower() for label in ISIC2018),
    ),
    # Only the training part is read, because the test part has a class that training does not know.
    Challenge(
        name="isic2019",
        labels=ISIC2019,
        words={"train": "Training"},
        cut=frozenset({"val", "test"}),
        parts=(
            Part(
                images=("ISIC_2019_{}_Input",),
                table="ISIC_2019_{}_GroundTruth.csv",
                groups="ISIC_2019_{}_Metadata.csv",
            ),
        ),
        read_class=one_of(ISIC2019),
        columns=tuple(label.lower() for label in ISIC2019),
    ),
)

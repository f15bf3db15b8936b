"""HAM10000 as its authors publish it (doi.org/10.7910/DVN/DBW86T): two folders, words for classes.

The ISIC challenge of 2018 has the same images under other names; its layout is in `ckd.data.isic`.
"""

from ckd.contract.labels import ISIC2018
from ckd.data.challenge import Challenge, Part
from ckd.data.tables import Row


def _class(row: Row) -> int:
    """Class of a row by ``dx``, whose words are the labels of 2018 in lower case."""
    word = row.cells["dx"].upper()
    if word not in ISIC2018:
        raise row.error(
            f"dx is {row.cells['dx']!r}, expected one of {', '.join(sorted(ISIC2018)).lower()}"
        )
    return ISIC2018.index(word)


#: No split is official, so val and test are cut; images of one lesion stay together.
HAM10000 = Challenge(
    name="ham10000",
    labels=ISIC2018,
    words={"train": "HAM10000"},
    cut=frozenset({"val", "test"}),
    parts=(
        Part(
            images=("{}_images_part_1", "{}_images_part_2"),
            masks="{}_segmentations_lesion_tschandl",
            table="{}_metadata.csv",
            groups="{}_metadata.csv",
        ),
    ),
    read_class=_class,
    columns=("dx",),
)

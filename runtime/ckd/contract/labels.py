"""Label sets of the field. Class order differs between data sets and papers, so order is data.

A network's class order travels with it: in the checkpoint, in the bundle, in every result.
Nothing else may assume one.
"""

from collections.abc import Sequence
from typing import Final

#: Short name -> what it stands for. Short names are those of the ISIC challenges' CSV headers;
#: SBK and NEV are CKDNet's names for the ISIC 2017 classes.
LESION_NAMES: Final[dict[str, str]] = {
    "MEL": "melanoma",
    "SBK": "seborrheic keratosis",
    "NEV": "nevus",
    "NV": "melanocytic nevus",
    "BCC": "basal cell carcinoma",
    "AKIEC": "actinic keratosis / Bowen's disease",
    "AK": "actinic keratosis",
    "BKL": "benign keratosis-like lesion",
    "DF": "dermatofibroma",
    "VASC": "vascular lesion",
    "SCC": "squamous cell carcinoma",
    "BEN": "benign",
}

#: ISIC 2016 Part 3: malignant or benign; malignant means melanoma there.
ISIC2016: Final = ("MEL", "BEN")
#: ISIC 2017 Part 3 in CKDNet's order; the CSV holds MEL and SBK, the rest are nevi.
ISIC2017: Final = ("MEL", "SBK", "NEV")
#: ISIC 2018 Task 3, the order of its CSV header.
ISIC2018: Final = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
#: ISIC 2019 in SSD-KD's (alphabetical) order; UNK never occurs in the training labels.
ISIC2019: Final = ("AK", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "VASC")


def headline_tasks(tasks: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The labels whose AUCs are averaged: ``tasks`` where all of them are known, all otherwise."""
    return tuple(tasks) if set(tasks) <= set(labels) else tuple(labels)


def label_of(labels: Sequence[str], index: int) -> str:
    """The label of that index; the one past the last stands for none of them.

    Only systems whose labels do not exclude each other (`OutputSpec.exclusive`) know such images.
    """
    return "other" if index == len(labels) else labels[index]


def lesion_name(label: str) -> str:
    """The lesion a short label stands for; labels of a user's own data set stand for themselves."""
    return LESION_NAMES.get(label, label)

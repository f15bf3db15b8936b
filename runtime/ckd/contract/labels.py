"""Label sets of the ISIC challenges.

The order of classes differs between data sets and papers. So the order is stored with a network (in
the checkpoint, in the bundle and in every finding), and no code may assume one.
"""

from collections.abc import Sequence
from typing import Final

#: Names of lesions by short name. Short names are those of the ISIC challenges' CSV headers; SBK
#: and NEV are CKDNet's names for the ISIC 2017 classes.
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

#: ISIC 2016 Part 3: malignant or benign, where malignant means melanoma.
ISIC2016: Final = ("MEL", "BEN")
#: ISIC 2017 Part 3 in CKDNet's order; the CSV has MEL and SBK, all other images are nevi.
ISIC2017: Final = ("MEL", "SBK", "NEV")
#: ISIC 2018 Task 3, the order of its CSV header.
ISIC2018: Final = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
#: ISIC 2019 in SSD-KD's (alphabetical) order; UNK never occurs in the training labels.
ISIC2019: Final = ("AK", "BCC", "BKL", "DF", "MEL", "NV", "SCC", "VASC")


def headline_tasks(tasks: Sequence[str], labels: Sequence[str]) -> tuple[str, ...]:
    """The labels whose AUCs are averaged: ``tasks`` if all of them are labels, else all labels."""
    return tuple(tasks) if set(tasks) <= set(labels) else tuple(labels)


def label_of(labels: Sequence[str], index: int) -> str:
    """The label of an index; "other" for the index after the last, which stands for no label.

    Images of no label exist only if labels do not exclude each other (`OutputSpec.exclusive`).
    """
    return "other" if index == len(labels) else labels[index]


def lesion_name(label: str) -> str:
    """The lesion that a short label stands for; an unknown label stands for itself."""
    return LESION_NAMES.get(label, label)

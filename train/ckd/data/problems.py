"""Texts for the problems of a data set, by code: what is wrong and what to do about it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ckd.data.report import MAX_EXAMPLES, DataProblem, Severity


@dataclass(frozen=True, slots=True)
class _Text:
    """Text for one kind of problem; "{}" in the sentence stands for "1 image" or "5 images"."""

    severity: Severity
    one: str
    many: str
    sentence: str
    remedy: str


def problem(code: str, names: Sequence[str]) -> Iterable[DataProblem]:
    """The problem of these files, ids or splits; nothing if there are none."""
    if not names:
        return
    text = _TEXTS[code]
    subject = f"{len(names)} {text.one if len(names) == 1 else text.many}"
    examples = tuple(sorted(names)[:MAX_EXAMPLES])
    sentence = text.sentence.format(subject)
    yield DataProblem(code, text.severity, sentence, len(names), examples, text.remedy)


def unusable_table(message: str) -> DataProblem:
    """The problem of a table that cannot be understood; ``message`` says why."""
    remedy = "Nothing of the splits concerned was checked; mend this and check again."
    return DataProblem("unusable-table", "error", message, 1, (), remedy)


_TEXTS: Mapping[str, _Text] = {
    "empty-split": _Text(
        "error",
        "split is",
        "splits are",
        "{} without any image that can be used",
        "Assign images to it by the 'split' column of labels.csv, or complete the download.",
    ),
    "straddling-group": _Text(
        "error",
        "lesion or patient has images",
        "lesions or patients have images",
        "{} in more than one split; scores would be of lesions seen in training",
        "Put all images of a lesion or patient into one split.",
    ),
    "no-truth": _Text(
        "warning",
        "image has",
        "images have",
        "{} neither mask nor label and will not be used",
        "Add a mask or a line in the table, or remove the image.",
    ),
    "no-mask": _Text(
        "warning",
        "image has",
        "images have",
        "{} no mask; segmentation is trained and scored without them",
        "Outline the lesion, or leave it so if that is meant.",
    ),
    "no-label": _Text(
        "warning",
        "image has",
        "images have",
        "{} no diagnosis; classification is trained and scored without them",
        "Add a line to the table, or leave it so if that is meant.",
    ),
    "row-without-image": _Text(
        "warning",
        "line of the table names",
        "lines of the table name",
        "{} an image that is not there",
        "Complete the images, or remove the lines.",
    ),
    "mask-without-image": _Text(
        "warning",
        "mask belongs",
        "masks belong",
        "{} to no image by name",
        "A mask is named as its image: lesion7.jpg and lesion7.png or lesion7_segmentation.png.",
    ),
    "absent-class": _Text(
        "warning",
        "class is",
        "classes are",
        "{} without any image in a split: it cannot be learnt there, or not be scored",
        "Collect images of this class, or split anew so that each split has some.",
    ),
    "unreadable-image": _Text(
        "error",
        "image cannot",
        "images cannot",
        "{} be read: damaged, cut off, or no image at all",
        "Copy these files again from where they came, or remove them and their lines.",
    ),
    "unreadable-mask": _Text(
        "error",
        "mask",
        "masks",
        "{} cannot be read",
        "Copy or export these files again, as 8-bit grey.",
    ),
    "mis-sized-mask": _Text(
        "error",
        "mask",
        "masks",
        "{} differ in size from their image, so the outline would be laid over the wrong place",
        "Export each mask at the size of its image, or restore the original image; where width and "
        "height are swapped, export it as viewers show the image.",
    ),
    "faint-mask": _Text(
        "error",
        "mask",
        "masks",
        "{} have no pixel brighter than 128, so no lesion would be seen in them",
        "Save masks as 8-bit grey with 0 for skin and 255 for lesion (not 1).",
    ),
    "empty-mask": _Text(
        "warning",
        "mask",
        "masks",
        "{} are all black: no lesion is outlined",
        "If the image shows a lesion, outline it, or remove the mask to leave it undecided.",
    ),
    "full-mask": _Text(
        "warning",
        "mask",
        "masks",
        "{} are all white: the whole picture counts as lesion",
        "Check that the mask is not inverted; if the lesion does fill the picture, leave it.",
    ),
    "grey-mask": _Text(
        "warning",
        "mask",
        "masks",
        "{} hold grey values between skin and lesion; training cuts them at the middle",
        "Save masks with two values (0 and 255), as PNG rather than JPEG.",
    ),
    "misnamed-mask": _Text(
        "warning",
        "mask is",
        "masks are",
        "{} named or placed otherwise than expected, so its image has none",
        "Put each into the folder of masks, named as its image: lesion7.jpg and "
        "lesion7_segmentation.png.",
    ),
    "turned-masks": _Text(
        "error",
        "mask",
        "masks",
        "{} would lie better on the lesion if turned back, in the same way as many others",
        "Open photograph and mask in one viewer: turn the masks, or remove the EXIF orientation of "
        "photographs whose pixels are upright already, and check again.",
    ),
    "turned-mask": _Text(
        "warning",
        "mask",
        "masks",
        "{} would lie clearly better on the lesion if turned back",
        "Look at the contact sheet; turn back those that are wrong, and leave the others.",
    ),
    "inverted-mask": _Text(
        "error",
        "mask has",
        "masks have",
        "{} skin marked as lesion: the marked part surrounds a darker one",
        "Invert these masks, so that the lesion is 255 and skin is 0.",
    ),
    "flat-mask": _Text(
        "warning",
        "mask outlines",
        "masks outline",
        "{} a part of the picture that looks as its surroundings do",
        "Look at the contact sheet: is it the mask of another photograph, or an empty one?",
    ),
    "alike-mask": _Text(
        "error",
        "mask is",
        "masks are",
        "{} the same for different photographs, to the pixel",
        "Export each photograph's own mask; a program may have written one over and over.",
    ),
    "alike-labels": _Text(
        "error",
        "pair of labels differs",
        "groups of labels differ",
        "{} only in case, blanks or hyphens, so each counts as a class of its own",
        "Spell each diagnosis in one way in the table.",
    ),
    "duplicate-across-splits": _Text(
        "error",
        "image lies",
        "images lie",
        "{} in more than one split; scores would be of images seen in training",
        "Keep each in one split only.",
    ),
    "duplicate-within-split": _Text(
        "warning",
        "image occurs",
        "images occur",
        "{} several times in one split and count more than others",
        "Keep one of each.",
    ),
}

"""Checks a data set for problems that would spoil a training or raise its scores wrongly.

The whole data set is read before anything is reported, so that all problems can be mended at once.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from ckd.console.progress import Progress
from ckd.contract.errors import InputError
from ckd.data.layouts import list_split, splits_of
from ckd.data.listing import Listing
from ckd.data.report import MAX_EXAMPLES, DataProblem, DataReport, Severity, SplitCounts
from ckd.data.scan import MaskState, Scan, scan_samples

__all__ = ["DataProblem", "DataReport", "check_dataset"]

# By state of the mask: severity, predicate of the message, remedy.
_MASKS: dict[MaskState, tuple[Severity, str, str]] = {
    "unreadable": ("error", "cannot be read", "Copy or export these files again."),
    "mis-sized": (
        "error",
        "differ in size from their image, so the outline would be laid over the wrong place",
        "Export each mask at the size of its image, or restore the original image.",
    ),
    "faint": (
        "error",
        "have no pixel brighter than 128, so no lesion would be seen in them",
        "Save masks as 8-bit grey with 0 for skin and 255 for lesion (not 1).",
    ),
    "empty": (
        "warning",
        "are all black: no lesion is outlined",
        "If the image shows a lesion, outline it, or remove the mask to leave it undecided.",
    ),
    "full": (
        "warning",
        "are all white: the whole picture counts as lesion",
        "Check that the mask is not inverted; if the lesion does fill the picture, leave it.",
    ),
    "grey": (
        "warning",
        "hold grey values between skin and lesion; training cuts them at the middle",
        "Save masks with two values (0 and 255), as PNG rather than JPEG.",
    ),
}


def check_dataset(root: Path, progress: Progress | None = None) -> DataReport:
    """Read every table, image and mask under ``root`` and report what is wrong.

    Args:
        root: a data folder of any layout that `ckd.data.layouts` knows.
        progress: called with the number of samples read so far and of all.

    Raises:
        InputError: the folder has no known layout. All other problems are reported.
    """
    listings: list[Listing] = []
    problems: list[DataProblem] = []
    refused: list[str] = []
    for split in splits_of(root):
        try:
            listings.append(list_split(root, split))
        except InputError as error:
            refused.append(str(error))
    # A bad table may spoil several splits; it is reported once.
    for message in dict.fromkeys(refused):
        remedy = "Nothing of the splits concerned was checked; mend this and check again."
        problems.append(DataProblem("unusable-table", "error", message, 1, (), remedy))

    problems += _of_listings(root, listings)
    pairs = [(listing.set.split, s) for listing in listings for s in listing.set.samples]
    problems += _of_files(root, scan_samples(pairs, progress))
    problems.sort(key=lambda problem: problem.severity != "error")
    name = listings[0].set.name if listings else root.name
    return DataReport(str(root), name, tuple(map(_counts, listings)), tuple(problems))


def _counts(listing: Listing) -> SplitCounts:
    samples = listing.set
    return SplitCounts(
        samples.split,
        listing.made_up,
        len(samples),
        len(samples.with_masks()),
        len(samples.with_labels()),
        dict(zip(samples.labels, samples.class_counts(), strict=True)),
    )


def _of_listings(root: Path, listings: list[Listing]) -> Iterable[DataProblem]:
    """Problems that file names and tables show."""
    pairs = [(listing, sample) for listing in listings for sample in listing.set.samples]
    splits_of_group: dict[str, set[str]] = defaultdict(set)
    for listing, sample in pairs:
        if sample.group is not None:
            splits_of_group[sample.group].add(listing.set.split)
    masks, labels = any(s.mask for _, s in pairs), any(s.label is not None for _, s in pairs)
    absent = [
        f"{label} ({listing.set.split})"
        for listing in listings
        for label, count in zip(listing.set.labels, listing.set.class_counts(), strict=True)
        if labels and listing.set.samples and count == 0
    ]
    yield from _problem(
        "empty-split",
        "error",
        [listing.set.split for listing in listings if not listing.set.samples],
        "{} without any image that can be used",
        "Assign images to it by the 'split' column of labels.csv, or complete the download.",
        "split is|splits are",
    )
    yield from _problem(
        "straddling-group",
        "error",
        [group for group, splits in splits_of_group.items() if len(splits) > 1],
        "{} in more than one split; scores would be of lesions seen in training",
        "Put all images of a lesion or patient into one split.",
        "lesion or patient has images|lesions or patients have images",
    )
    yield from _problem(
        "no-truth",
        "warning",
        [_short(root, path) for listing in listings for path in listing.without_truth],
        "{} neither mask nor label and will not be used",
        "Add a mask or a line in the table, or remove the image.",
        "image has|images have",
    )
    # In a data set for diagnosis no image has a mask; this is not reported.
    yield from _problem(
        "no-mask",
        "warning",
        [_short(root, s.image) for _, s in pairs if masks and s.mask is None],
        "{} no mask; segmentation is trained and scored without them",
        "Outline the lesion, or leave it so if that is meant.",
        "image has|images have",
    )
    yield from _problem(
        "no-label",
        "warning",
        [_short(root, s.image) for _, s in pairs if labels and s.label is None],
        "{} no diagnosis; classification is trained and scored without them",
        "Add a line to the table, or leave it so if that is meant.",
        "image has|images have",
    )
    yield from _problem(
        "row-without-image",
        "warning",
        [row for listing in listings for row in listing.rows_without_image],
        "{} an image that is not there",
        "Complete the images, or remove the lines.",
        "line of the table names|lines of the table name",
    )
    yield from _problem(
        "mask-without-image",
        "warning",
        [_short(root, path) for listing in listings for path in listing.masks_without_image],
        "{} to no image by name",
        "A mask is named as its image: lesion7.jpg and lesion7.png or lesion7_segmentation.png.",
        "mask belongs|masks belong",
    )
    yield from _problem(
        "absent-class",
        "warning",
        absent,
        "{} without any image in a split: it cannot be learnt there, or not be scored",
        "Collect images of this class, or split anew so that each split has some.",
        "class is|classes are",
    )


def _of_files(root: Path, scans: list[Scan]) -> Iterable[DataProblem]:
    """Problems that only reading the images and masks shows."""
    yield from _problem(
        "unreadable-image",
        "error",
        [_short(root, scan.sample.image) for scan in scans if scan.pixels_sha256 is None],
        "{} be read: damaged, cut off, or no image at all",
        "Copy these files again from where they came, or remove them and their lines.",
        "image cannot|images cannot",
    )
    for state, (severity, predicate, remedy) in _MASKS.items():
        names = [_short(root, s.sample.mask) for s in scans if s.sample.mask and s.mask == state]
        yield from _problem(
            f"{state}-mask", severity, names, "{} " + predicate, remedy, "mask|masks"
        )

    same_pixels: dict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        if scan.pixels_sha256 is not None:
            same_pixels[scan.pixels_sha256].append(scan)
    across: list[str] = []
    within: list[str] = []
    for twins in same_pixels.values():
        if len(twins) > 1:
            equal = " = ".join(_short(root, twin.sample.image) for twin in twins)
            (across if len({twin.split for twin in twins}) > 1 else within).append(equal)
    yield from _problem(
        "duplicate-across-splits",
        "error",
        across,
        "{} in more than one split; scores would be of images seen in training",
        "Keep each in one split only.",
        "image lies|images lie",
    )
    yield from _problem(
        "duplicate-within-split",
        "warning",
        within,
        "{} several times in one split and count more than others",
        "Keep one of each.",
        "image occurs|images occur",
    )


def _problem(
    code: str, severity: Severity, names: list[str], sentence: str, remedy: str, nouns: str
) -> Iterable[DataProblem]:
    """The problem, unless ``names`` is empty; ``nouns`` has the words for one and for many."""
    if names:
        one, many = nouns.split("|")
        subject = f"{len(names)} {one if len(names) == 1 else many}"
        examples = tuple(sorted(names)[:MAX_EXAMPLES])
        yield DataProblem(code, severity, sentence.format(subject), len(names), examples, remedy)


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()

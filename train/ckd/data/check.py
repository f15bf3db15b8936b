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
from ckd.data.problems import problem, unusable_table
from ckd.data.report import DataProblem, DataReport, SplitCounts
from ckd.data.scan import Scan, scan_samples

__all__ = ["DataProblem", "DataReport", "check_dataset"]


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
        problems.append(unusable_table(message))

    problems += _of_listings(root, listings)
    pairs = [(listing.set.split, s) for listing in listings for s in listing.set.samples]
    problems += _of_files(root, scan_samples(pairs, progress))
    problems.sort(key=lambda entry: entry.severity != "error")
    name = listings[0].set.name if listings else root.name
    left_out = tuple(dict.fromkeys(line for entry in listings for line in entry.left_out))
    return DataReport(str(root), name, tuple(map(_counts, listings)), tuple(problems), left_out)


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
    yield from problem(
        "empty-split", [listing.set.split for listing in listings if not listing.set.samples]
    )
    yield from problem(
        "straddling-group", [group for group, splits in splits_of_group.items() if len(splits) > 1]
    )
    yield from problem(
        "no-truth", [_short(root, path) for listing in listings for path in listing.without_truth]
    )
    # In a data set for diagnosis no image has a mask; this is not reported.
    yield from problem(
        "no-mask", [_short(root, s.image) for _, s in pairs if masks and s.mask is None]
    )
    yield from problem(
        "no-label", [_short(root, s.image) for _, s in pairs if labels and s.label is None]
    )
    yield from problem(
        "row-without-image", [row for listing in listings for row in listing.rows_without_image]
    )
    yield from problem(
        "mask-without-image",
        [_short(root, path) for listing in listings for path in listing.masks_without_image],
    )
    yield from problem("absent-class", absent)


def _of_files(root: Path, scans: list[Scan]) -> Iterable[DataProblem]:
    """Problems that only reading the images and masks shows."""
    yield from problem(
        "unreadable-image",
        [_short(root, scan.sample.image) for scan in scans if scan.pixels_sha256 is None],
    )
    for state in ("unreadable", "mis-sized", "faint", "empty", "full", "grey"):
        names = [_short(root, s.sample.mask) for s in scans if s.sample.mask and s.mask == state]
        yield from problem(f"{state}-mask", names)

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
    yield from problem("duplicate-across-splits", across)
    yield from problem("duplicate-within-split", within)


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()

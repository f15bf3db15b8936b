"""Checks a data set for problems that would spoil a training or raise its scores wrongly.

The whole data set is read before anything is reported, so that all problems can be mended at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckd.console.progress import Progress
from ckd.contract.errors import InputError
from ckd.data.layouts import list_split, splits_of
from ckd.data.listing import Listing
from ckd.data.names import alike_labels, likely_masks
from ckd.data.problems import problem, unusable_table
from ckd.data.report import DataProblem, DataReport, SplitCounts
from ckd.data.scan import Scan, scan_samples
from ckd.data.suspects import Suspect, suspects_of

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
    problems += _of_missing(root, listings)
    pairs = [(listing.set.split, s) for listing in listings for s in listing.set.samples]
    scans = scan_samples(pairs, progress)
    problems += _of_files(root, scans)
    suspects = suspects_of([scan.judged for scan in scans if scan.judged is not None])
    problems += _of_suspects(root, suspects)
    problems.sort(key=lambda entry: entry.severity != "error")
    name = listings[0].set.name if listings else root.name
    left_out = tuple(dict.fromkeys(line for entry in listings for line in entry.left_out))
    return DataReport(
        str(root),
        name,
        tuple(map(_counts, listings)),
        tuple(problems),
        left_out,
        tuple(suspects),
    )


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
    # A table whose rows all name other images was meant to label these.
    labels = any(s.label is not None for _, s in pairs) or any(
        listing.rows_without_image for listing in listings
    )
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
        "no-label", [_short(root, s.image) for _, s in pairs if labels and s.label is None]
    )
    yield from problem(
        "row-without-image", [row for listing in listings for row in listing.rows_without_image]
    )
    yield from problem("absent-class", absent)
    names = {label for listing in listings for label in listing.set.labels}
    yield from problem("alike-labels", alike_labels(names))


def _of_missing(root: Path, listings: list[Listing]) -> Iterable[DataProblem]:
    """Images without mask or label, and masks without image; some of them may belong together."""
    samples = [sample for listing in listings for sample in listing.set.samples]
    # In a data set for diagnosis no image has a mask; this is not reported.
    any_mask = any(sample.mask for sample in samples)
    unmasked = [sample.image for sample in samples if sample.mask is None]
    without_truth = [path for listing in listings for path in listing.without_truth]
    strays = [path for listing in listings for path in listing.masks_without_image]
    beside = {path for listing in listings for path in listing.masks_beside}
    likely = likely_masks([*unmasked, *without_truth], [*strays, *sorted(beside)])
    yield from problem(
        "misnamed-mask",
        [f"{_short(root, mask)} for {_short(root, image)}" for image, mask in likely.items()],
    )
    yield from problem(
        "no-truth", [_short(root, path) for path in without_truth if path not in likely]
    )
    yield from problem(
        "no-mask", [_short(root, path) for path in unmasked if any_mask and path not in likely]
    )
    yield from problem(
        "mask-without-image",
        [_short(root, path) for path in strays if path not in likely.values()],
    )


def _of_files(root: Path, scans: list[Scan]) -> Iterable[DataProblem]:
    """Problems that only reading the images and masks shows."""
    yield from problem(
        "unreadable-image",
        [
            f"{_short(root, scan.sample.image)} ({scan.image_fault})"
            for scan in scans
            if scan.pixels_sha256 is None
        ],
    )
    for state in ("unreadable", "mis-sized", "faint", "empty", "full", "grey"):
        names = [
            _short(root, s.sample.mask) + (f" ({s.mask_fault})" if s.mask_fault else "")
            for s in scans
            if s.sample.mask and s.mask == state
        ]
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


def _of_suspects(root: Path, suspects: Sequence[Suspect]) -> Iterable[DataProblem]:
    """Problems that comparing masks with their images shows."""
    by_code: dict[str, list[str]] = defaultdict(list)
    for suspect in suspects:
        by_code[suspect.code].append(f"{_short(root, suspect.mask)} ({suspect.what})")
    for code, names in by_code.items():
        yield from problem(code, names)


def _short(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()

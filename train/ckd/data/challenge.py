"""A challenge's data set: words of the splits, folders and tables, and how they become a listing.

Some archives unpack into a folder of their own name inside another; both depths are read.
What counts as an image in a folder is decided by `ckd.picture.folders`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.data.listing import Files, Listing, Pool, hashed_split, image_files, mask_files
from ckd.data.samples import Sample, SampleSet, Split, SplitBy
from ckd.data.tables import Row, find_table, read_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Folders and files that belong together; ``{}`` in a name stands for the word of the split."""

    images: tuple[str, ...]
    masks: str | None = None
    table: str | None = None
    groups: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The data set of one year.

    Attributes:
        words: how file names call each split.
        cut: splits that are cut from the training images if their own files are missing.
        columns: of the table, besides the id.
        header: names of the columns if the table has none.
    """

    name: str
    labels: tuple[str, ...]
    words: Mapping[Split, str]
    cut: frozenset[Split] = field(default=frozenset())
    parts: tuple[Part, ...]
    read_class: Callable[[Row], int | None]
    columns: tuple[str, ...]
    header: tuple[str, ...] | None = None

    def names(self, split: Split) -> tuple[str, ...]:
        """Every folder and file that may belong to the split."""
        if split not in self.words:
            return ()
        word = self.words[split]
        return tuple(
            name.format(word)
            for part in self.parts
            for name in (*part.images, part.masks, part.table)
            if name is not None
        )

    def splits(self, root: Path) -> tuple[Split, ...]:
        """The splits that can be read from ``root``."""
        order: tuple[Split, ...] = ("train", "val", "test")
        return tuple(
            split for split in order if any(self._source(root, p, split) for p in self.parts)
        )

    def listing(self, root: Path, split: Split, split_by: SplitBy = "lesion") -> Listing:
        """The samples of one split, from all parts.

        Raises:
            InputError: the split is missing, or a table cannot be understood.
        """
        groups = self._groups(root) if split_by == "lesion" else {}
        parts: list[Listing] = []
        made_up = False
        for part in self.parts:
            source = self._source(root, part, split)
            if source is None:
                continue
            cut: set[Split] = {s for s in self.cut if self._source(root, part, s) == "train"}
            pool = self._pool(root, part, self.words[source], groups)
            parts.append(pool.listing(self.name, split, self.labels, _belongs(pool, split, cut)))
            made_up |= source != split
        if not parts:
            raise InputError(
                f"{root}: {self.name} has no {split!r} split there; expected images and their "
                f"masks or table under {', '.join(self.names(split))}; "
                "unpack the archives of this split into that folder, or choose another split"
            )
        return _joined(self.name, split, self.labels, parts, made_up)

    def _source(self, root: Path, part: Part, split: Split) -> Split | None:
        """The split in whose files the samples of ``split`` are; None if the files are missing."""
        if split in self.words and _exists(root, part, self.words[split]):
            return split
        if split in self.cut and _exists(root, part, self.words["train"]):
            return "train"
        return None

    def _pool(self, root: Path, part: Part, word: str, groups: Mapping[str, str]) -> Pool:
        images: dict[str, Path] = {}
        beside: list[Path] = []
        left_out: list[str] = []
        for name in reversed(part.images):  # files of the first folder replace those of the second
            if folder := _folder(root, name.format(word)):
                found = image_files(folder)
                images |= found.by_id
                beside += found.strays
                left_out.append(found.left_out)
        masks, classes = Files(), {}
        if part.masks and (folder := _folder(root, part.masks.format(word))):
            masks = mask_files(folder, suffix_required=True)
            left_out.append(masks.left_out)
        if part.table and (table := find_table(root, part.table.format(word))):
            rows = read_table(table, self.columns, self.header)
            classes = {image_id: self.read_class(row) for image_id, row in rows.items()}
        return Pool(
            images=images,
            masks=masks.by_id,
            classes=classes,
            groups=groups,
            stray_masks=masks.strays,
            masks_beside=tuple(beside),
            left_out=tuple(filter(None, left_out)),
        )

    def _groups(self, root: Path) -> dict[str, str]:
        """Lesion by image id, over all parts and splits, because an image may be in two parts."""
        words = self.words.values()
        names = (p.groups.format(word) for p in self.parts if p.groups for word in words)
        groups: dict[str, str] = {}
        for name in names:
            if table := find_table(root, name):
                rows = read_table(table, ("lesion_id",))
                groups |= {id_: r.cells["lesion_id"] for id_, r in rows.items()}
        return {image_id: group for image_id, group in groups.items() if group}


def _folder(root: Path, name: str) -> Path | None:
    candidates = (root / name / name, root / name)
    return next((path for path in candidates if path.is_dir()), None)


def _exists(root: Path, part: Part, word: str) -> bool:
    """Whether the part has images, and masks or a table for them."""
    return any(_folder(root, name.format(word)) for name in part.images) and bool(
        (part.masks and _folder(root, part.masks.format(word)))
        or (part.table and find_table(root, part.table.format(word)))
    )


def _belongs(pool: Pool, split: Split, cut: set[Split]) -> Callable[[str], bool]:
    """Whether an image of the pool belongs to the split, if ``cut`` are cut from training."""
    if split != "train" and split not in cut:
        return lambda image_id: True
    return lambda image_id: hashed_split(pool.split_key(image_id), cut) == split


def _joined(
    name: str, split: Split, labels: tuple[str, ...], parts: list[Listing], made_up: bool
) -> Listing:
    """Join parts; an image in two of them gets the mask of one and the label of the other."""
    samples = {sample.id: sample for sample in parts[0].set.samples}
    for sample in (sample for part in parts[1:] for sample in part.set.samples):
        if first := samples.get(sample.id):
            mask = sample.mask if first.mask is None else first.mask
            label = sample.label if first.label is None else first.label
            sample = Sample(sample.id, first.image, mask, label, sample.group)
        samples[sample.id] = sample
    return Listing(
        SampleSet(name, split, labels, tuple(samples[id_] for id_ in sorted(samples))),
        made_up=made_up,
        without_truth=tuple(path for part in parts for path in part.without_truth),
        rows_without_image=tuple(row for part in parts for row in part.rows_without_image),
        masks_without_image=tuple(path for part in parts for path in part.masks_without_image),
        masks_beside=tuple(path for part in parts for path in part.masks_beside),
        left_out=tuple(dict.fromkeys(line for part in parts for line in part.left_out)),
    )

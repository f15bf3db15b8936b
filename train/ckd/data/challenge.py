"""A challenge's data set: split words, folders and tables, and how they become one listing.

An archive may have unpacked into a folder of its own name once more; both depths are read.
Superpixel maps and segmentations that lie among the images are not images.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.data.listing import Listing, Pool, image_files, made_split, mask_files
from ckd.data.samples import SampleSet, Split, SplitBy
from ckd.data.tables import Row, find_table, read_table

_NOT_IMAGES = ("_superpixels", "_segmentation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Folders and files that belong together; ``{}`` stands for the split's word in their names."""

    images: tuple[str, ...]
    masks: str | None = None
    table: str | None = None
    groups: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One year's data set."""

    name: str
    labels: tuple[str, ...]
    words: Mapping[Split, str]
    made: frozenset[Split] = field(default=frozenset())  # cut from training where not there
    parts: tuple[Part, ...]
    read_class: Callable[[Row], int | None]
    columns: tuple[str, ...]  # of the table, besides the id
    header: tuple[str, ...] | None = None

    def names(self, split: Split) -> tuple[str, ...]:
        """Every folder and file that the split may consist of."""
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
        """The samples of one split, those of all parts together."""
        groups = self._groups(root) if split_by == "lesion" else {}
        parts: list[Listing] = []
        made_up = False
        for part in self.parts:
            source = self._source(root, part, split)
            if source is None:
                continue
            made: set[Split] = {s for s in self.made if self._source(root, part, s) == "train"}
            pool = self._pool(root, part, self.words[source], groups)
            parts.append(pool.listing(self.name, split, self.labels, _belongs(pool, split, made)))
            made_up |= source != split
        if not parts:
            raise InputError(
                f"{root}: {self.name} has no {split!r} split there; expected images and their "
                f"masks or table under {', '.join(self.names(split))}; "
                "unpack the archives of this split into that folder, or choose another split"
            )
        return _joined(self.name, split, self.labels, parts, made_up)

    def _source(self, root: Path, part: Part, split: Split) -> Split | None:
        """The split whose files hold the split asked for; None where it cannot be had."""
        if split in self.words and _is_there(root, part, self.words[split]):
            return split
        if split in self.made and _is_there(root, part, self.words["train"]):
            return "train"
        return None

    def _pool(self, root: Path, part: Part, word: str, groups: Mapping[str, str]) -> Pool:
        images: dict[str, Path] = {}
        for name in reversed(part.images):  # the first named wins
            if folder := _folder(root, name.format(word)):
                images |= image_files(folder, _NOT_IMAGES)
        masks, classes = {}, {}
        if part.masks and (folder := _folder(root, part.masks.format(word))):
            masks = mask_files(folder, suffix_required=True)
        if part.table and (table := find_table(root, part.table.format(word))):
            rows = read_table(table, self.columns, self.header)
            classes = {image_id: self.read_class(row) for image_id, row in rows.items()}
        return Pool(images=images, masks=masks, classes=classes, groups=groups)

    def _groups(self, root: Path) -> dict[str, str]:
        """Lesion by image of all parts and splits: an image may be in two parts."""
        names = (p.groups.format(word) for p in self.parts if p.groups for word in _words(self))
        groups: dict[str, str] = {}
        for name in names:
            if table := find_table(root, name):
                rows = read_table(table, ("lesion_id",))
                groups |= {id_: r.cells["lesion_id"] for id_, r in rows.items()}
        return {image_id: group for image_id, group in groups.items() if group}


def _words(challenge: Challenge) -> tuple[str, ...]:
    return tuple(challenge.words.values())


def _folder(root: Path, name: str) -> Path | None:
    candidates = (root / name / name, root / name)
    return next((path for path in candidates if path.is_dir()), None)


def _is_there(root: Path, part: Part, word: str) -> bool:
    """Images, and something that is known of them."""
    return any(_folder(root, name.format(word)) for name in part.images) and bool(
        (part.masks and _folder(root, part.masks.format(word)))
        or (part.table and find_table(root, part.table.format(word)))
    )


def _belongs(pool: Pool, split: Split, made: set[Split]) -> Callable[[str], bool]:
    if split != "train" and split not in made:
        return lambda image_id: True
    return lambda image_id: made_split(pool.split_key(image_id), made) == split


def _joined(
    name: str, split: Split, labels: tuple[str, ...], parts: list[Listing], made_up: bool
) -> Listing:
    """Parts as one; an image in two of them has the mask of one and the label of the other."""
    samples = {sample.id: sample for sample in parts[0].set.samples}
    for sample in (sample for part in parts[1:] for sample in part.set.samples):
        if first := samples.get(sample.id):
            mask = sample.mask if first.mask is None else first.mask
            label = sample.label if first.label is None else first.label
            sample = type(sample)(sample.id, first.image, mask, label, sample.group)
        samples[sample.id] = sample
    return Listing(
        SampleSet(name, split, labels, tuple(samples[id_] for id_ in sorted(samples))),
        made_up,
        tuple(path for part in parts for path in part.without_truth),
        tuple(row for part in parts for row in part.rows_without_image),
        tuple(path for part in parts for path in part.masks_without_image),
    )

"""The plain layout for own data: ``images/``, and next to it ``masks/`` or ``labels.csv`` or both.

    images/lesion7.jpg
    masks/lesion7.png         or lesion7_segmentation.png
    labels.csv                image,label[,split][,group]

Without a ``split`` column, val and test receive a tenth of the groups each.
"""

from dataclasses import replace
from pathlib import Path

from ckd.data.listing import Files, Listing, Pool, hashed_split, image_files, mask_files
from ckd.data.samples import Split, SplitBy
from ckd.data.tables import is_table, read_table

_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def is_plain(root: Path) -> bool:
    """Whether the folder has the plain layout."""
    return (root / "images").is_dir() and (
        (root / "masks").is_dir() or is_table(root / "labels.csv")
    )


def list_plain(root: Path, split: Split, split_by: SplitBy = "lesion") -> Listing:
    """The samples of one split; the classes are those of the whole table, in alphabetical order.

    If the table has splits, images that it does not list are training images.
    """
    masks_folder, table = root / "masks", root / "labels.csv"
    rows = read_table(table, ("label",)) if is_table(table) else {}
    labels = tuple(sorted({row.cells["label"] for row in rows.values()} - {""}))
    index = {label: number for number, label in enumerate(labels)}
    groups = {image_id: row.cells.get("group", "") for image_id, row in rows.items()}
    if split_by == "image":
        groups = {}
    images = image_files(root / "images")
    masks = mask_files(masks_folder, suffix_required=False) if masks_folder.is_dir() else Files()
    pool = Pool(
        images=images.by_id,
        masks=masks.by_id,
        classes={image_id: index.get(row.cells["label"]) for image_id, row in rows.items()},
        groups={image_id: group for image_id, group in groups.items() if group},
        masks_beside=images.strays,
        left_out=tuple(filter(None, (images.left_out, masks.left_out))),
    )

    split_of: dict[str, Split] = {}
    for image_id, row in rows.items():
        if "split" in row.cells:
            word = row.cells["split"].lower()
            if word not in _SPLIT_WORDS:
                raise row.error(f"split is {row.cells['split']!r}, expected train, val or test")
            split_of[image_id] = _SPLIT_WORDS[word]

    def belongs(image_id: str) -> bool:
        if split_of:
            return split_of.get(image_id, "train") == split
        return hashed_split(pool.split_key(image_id), ("val", "test")) == split

    listing = pool.listing(root.resolve().name, split, labels, belongs)
    return replace(listing, made_up=not split_of and split != "train")

"""Finds out how a data folder is laid out and reads one split of it.

Known layouts are the ISIC challenges of 2016 to 2019 as they unpack (`ckd.data.isic`) and a
plain one for data of one's own (`ckd.data.plain`). Nothing is configured: the folder's
content decides.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ckd.contract.errors import InputError, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.data.challenge import Challenge
from ckd.data.isic import CHALLENGES
from ckd.data.listing import Listing
from ckd.data.plain import is_plain, list_plain
from ckd.data.samples import SampleSet, Split, SplitBy

#: Lies in the folder of a data set that was made up, and says how; see `ckd.data.synthetic.write`.
GENERATED: Final = "generated.json"


def read_split(root: Path, split: Split, split_by: SplitBy = "lesion") -> SampleSet:
    """The images of one split with their masks, labels and groups, in the order of their ids.

    Where the data set has no such split, it is cut from the training images by a hash of each
    image's group, a tenth for val and, where the data set has no test split either, a tenth for
    test: the same on every machine, and no lesion straddles. ``split_by="image"`` forgets the
    groups, as publications do that split ISIC 2019 by image: scores are flattered by lesions seen
    in training, and the set's name says so. Images with neither mask nor label are left out;
    `list_split` names them.

    Raises:
        InputError: an unknown layout, a split that is missing or empty, a table that cannot be
            understood.
    """
    listing = list_split(root, split, split_by)
    if not listing.set.samples:
        skipped = len(listing.without_truth)
        raise InputError(
            f"{root}: the {split!r} split is empty ({skipped} images without mask and label); "
            "run `ckd-train data check` on the folder"
            + (", or assign images to it by a 'split' column" if listing.made_up else "")
        )
    return listing.set


def read_unseen(root: Path, split: Split, specs: Sequence[CascadeSpec]) -> SampleSet:
    """As `read_split`, cut as the bundles' own training images were cut.

    Otherwise a bundle whose recipe splits by image would be scored on images it was trained on.

    Raises:
        InputError: as `read_split`.
        UsageError: the bundles' images were cut differently, so that no images are new to all.
    """
    cuts: dict[SplitBy, str] = {
        "image" if m.provenance.get("split_by") == "image" else "lesion": m.name for m in specs
    }
    if len(cuts) > 1 and list_split(root, split).made_up:
        raise UsageError(
            f"{cuts['image']} was trained on images split by image, {cuts['lesion']} by lesion: "
            "no images are new to both; score them one by one"
        )
    return read_split(root, split, "image" if set(cuts) == {"image"} else "lesion")


def list_split(root: Path, split: Split, split_by: SplitBy = "lesion") -> Listing:
    """As `read_split`, with what was left out; a split may come out empty.

    Made-up data is named as such, whatever its layout: no model card may take it for the real.

    Raises:
        InputError: an unknown layout, a missing split, a table that cannot be understood.
    """
    challenge = _challenge(root)
    read = list_plain if challenge is None else challenge.listing
    found = read(root, split, split_by)
    name = found.set.name
    if (root / GENERATED).is_file():
        name = f"generated ({name} layout)"
    if split_by == "image":
        name = f"{name}, split by image"
    return replace(found, set=replace(found.set, name=name))


def splits_of(root: Path) -> tuple[Split, ...]:
    """The splits that `list_split` can read from the folder, official or made up.

    Raises:
        InputError: an unknown layout.
    """
    challenge = _challenge(root)
    return ("train", "val", "test") if challenge is None else challenge.splits(root)


def _challenge(root: Path) -> Challenge | None:
    """The challenge that lies in the folder, None for the plain layout."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the data set")
    found = [challenge for challenge in CHALLENGES if challenge.splits(root)]
    if len(found) > 1:
        raise InputError(
            f"{root}: holds {' and '.join(c.name for c in found)}; give each a folder of its own"
        )
    if found:
        return found[0]
    if is_plain(root):
        return None
    raise _unknown(root)


def _unknown(root: Path) -> InputError:
    content = sorted(path.name for path in root.iterdir())
    shown = ", ".join(content[:8]) + (f" and {len(content) - 8} more" if len(content) > 8 else "")
    looked_for = "\n".join(f"  {c.name}: {', '.join(c.names('train'))}" for c in CHALLENGES)
    return InputError(
        f"{root}: not a data set that can be read; the folder holds {shown or 'nothing'}.\n"
        "Images and, of the masks and the table, at least one were looked for:\n"
        f"{looked_for}\n"
        "  plain: images, masks, labels.csv (image,label[,split][,group])\n"
        "Give the folder that directly holds these, under these names."
    )

"""Recognises the layout of a data folder and reads one split of it.

Known layouts are the ISIC challenges of 2016 to 2019 as they unpack (`ckd.data.isic`), HAM10000
(`ckd.data.ham10000`) and a plain one for own data (`ckd.data.plain`). The layout is recognised by
the content of the folder, without configuration.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ckd.contract.errors import InputError, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.data.challenge import Challenge
from ckd.data.ham10000 import HAM10000
from ckd.data.isic import CHALLENGES
from ckd.data.listing import Listing
from ckd.data.plain import is_plain, list_plain
from ckd.data.samples import SampleSet, Split, SplitBy

#: File in the folder of a generated data set that says how it was made, see
#: `ckd.data.synthetic.write`.
GENERATED: Final = "generated.json"
_KNOWN: Final = (*CHALLENGES, HAM10000)


def read_split(
    root: Path,
    split: Split,
    split_by: SplitBy = "lesion",
    say: Callable[[str], None] | None = None,
) -> SampleSet:
    """The images of one split with their masks, labels and groups, in the order of their ids.

    A split that the data set does not have is cut from the training images by a hash of each
    image's group: a tenth of them for val, and a tenth for test if that is missing too. The cut is
    the same on every machine, and no lesion is in two splits. ``split_by="image"`` ignores the
    groups, as publications do that split ISIC 2019 by image; lesions seen in training then raise
    the scores, and the name of the set says so. Images with neither mask nor label are left out;
    `list_split` names them. ``say`` is told how many files of a folder are no photographs.

    Raises:
        InputError: the layout is unknown, the split is missing or empty, or a table cannot be
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
    if say is not None:
        for sentence in listing.left_out:
            say(sentence)
    return listing.set


def read_unseen(
    root: Path,
    split: Split,
    specs: Sequence[CascadeSpec],
    say: Callable[[str], None] | None = None,
) -> SampleSet:
    """`read_split` with the cut of the bundles' own training images.

    With another cut, a bundle whose recipe splits by image would be scored on its training images.

    Raises:
        InputError: as by `read_split`.
        UsageError: the bundles' images were cut differently, so that no images are new to all.
    """
    cuts: dict[SplitBy, str] = {
        "image" if spec.provenance.get("split_by") == "image" else "lesion": spec.name
        for spec in specs
    }
    if len(cuts) > 1 and list_split(root, split).made_up:
        raise UsageError(
            f"{cuts['image']} was trained on images split by image, {cuts['lesion']} by lesion: "
            "no images are new to both; score them one by one"
        )
    return read_split(root, split, "image" if set(cuts) == {"image"} else "lesion", say)


def list_split(root: Path, split: Split, split_by: SplitBy = "lesion") -> Listing:
    """The split as by `read_split`, with the files and rows that are left out. It may be empty.

    The name of a generated data set says so, whatever its layout, so that no model card presents it
    as real.

    Raises:
        InputError: the layout is unknown, the split is missing, or a table cannot be understood.
    """
    challenge = _challenge(root)
    read = list_plain if challenge is None else challenge.listing
    listing = read(root, split, split_by)
    name = listing.set.name
    if (root / GENERATED).is_file():
        name = f"generated ({name} layout)"
    if split_by == "image":
        name = f"{name}, split by image"
    return replace(listing, set=replace(listing.set, name=name))


def splits_of(root: Path) -> tuple[Split, ...]:
    """The splits that `list_split` can read from the folder, official or cut from training.

    Raises:
        InputError: the layout is unknown.
    """
    challenge = _challenge(root)
    return ("train", "val", "test") if challenge is None else challenge.splits(root)


def _challenge(root: Path) -> Challenge | None:
    """The challenge whose data is in the folder, or None for the plain layout."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the data set")
    challenges = [known for known in _KNOWN if known.splits(root)]
    if len(challenges) > 1:
        raise InputError(
            f"{root}: holds {' and '.join(c.name for c in challenges)}; "
            "give each a folder of its own"
        )
    if challenges:
        return challenges[0]
    if is_plain(root):
        return None
    raise _unknown(root)


def _unknown(root: Path) -> InputError:
    content = sorted(path.name for path in root.iterdir())
    shown = ", ".join(content[:8]) + (f" and {len(content) - 8} more" if len(content) > 8 else "")
    looked_for = "; ".join(f"{c.name}: {', '.join(c.names('train'))}" for c in _KNOWN)
    return InputError(
        f"{root}: not a data set that can be read; the folder holds {shown or 'nothing'}. Images "
        "and, of the masks and the table, at least one were looked for: "
        f"{looked_for}; plain: images, masks, labels.csv (image,label[,split][,group]). "
        "Give the folder that directly holds these, under these names."
    )

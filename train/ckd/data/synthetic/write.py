"""Generated dermoscopy: pictures with an exact outline and a known diagnosis, from a seed.

It serves tests, demonstrations and dry runs of a training without patient data. It imitates the
look of dermoscopy, not its statistics: an accuracy measured on it says nothing about real lesions.

The module needs no PyTorch, so that tests of a device can use it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.version import ckd_version
from ckd.contract.whole_file import replace_file
from ckd.data.layouts import GENERATED
from ckd.data.samples import Split
from ckd.data.synthetic import scene
from ckd.data.synthetic.fields import Rng, ramp
from ckd.data.synthetic.lesion import RED_C, Lesion, keratosis, melanoma, nevus
from ckd.finding.files import write_json
from ckd.picture.decode import MIN_SIDE_PX

_LESIONS: dict[str, Callable[[Rng, int], Lesion]] = {
    "MEL": melanoma,
    "SBK": keratosis,
    "NEV": nevus,
}
#: Classes of a written data set, in turn: any four images hold every class, and nevi twice.
_TURN = ("NEV", "MEL", "NEV", "SBK")
#: Case numbers per seed of a written data set; different seeds share no case.
_SEED_STRIDE = 10_000_000
_WORDS: dict[Split, str] = {"train": "Training", "val": "Validation", "test": "Test_v2"}


@dataclass(frozen=True, slots=True)
class SyntheticCase:
    """One generated picture with its mask and diagnosis."""

    image_HWC: NDArray[np.uint8]  # RGB
    mask_HW: NDArray[np.bool_]  # True on the lesion
    label: str  # MEL, SBK or NEV


def dermoscopy(
    seed: int, side_px: int = 256, label: str | None = None, *, blur: float | None = None
) -> SyntheticCase:
    """Generate the case of a seed: equal at equal size, and similar at other sizes.

    Args:
        seed: not negative.
        side_px: width and height of the picture.
        label: MEL, SBK or NEV; None lets the seed choose.
        blur: deviation of the optical blur in shares of the side; None lets the seed choose.

    Raises:
        UsageError: the label is unknown, or the picture too small to show a lesion.
    """
    if label is not None and label not in _LESIONS:
        raise UsageError(f"label {label!r} cannot be made up; choose one of {', '.join(ISIC2017)}")
    if side_px < MIN_SIDE_PX:
        raise UsageError(f"side_px is {side_px}; give at least {MIN_SIDE_PX}")
    rng = np.random.default_rng(seed)
    drawn = _TURN[rng.integers(len(_TURN))]  # always drawn, so that ``label`` shifts no later draw
    label = drawn if label is None else label

    lesion = _LESIONS[label](rng, side_px)
    image_HWC = scene.skin(rng, side_px)
    halo_HW = rng.uniform(0.0, 0.12) * ramp(lesion.depth_HW, -0.9, -0.1)
    image_HWC = lesion.over(image_HWC * np.exp(-halo_HW[..., None] * RED_C))
    # The objects on the skin do not depend on the class, so they do not reveal it.
    if rng.random() < 0.04:
        scene.sticker(rng, image_HWC, lesion.mask_HW)
    if rng.random() < 0.2:
        scene.ruler(rng, image_HWC)
    if rng.random() < 0.4:
        scene.hairs(rng, image_HWC)
    if rng.random() < 0.2:
        scene.bubbles(rng, image_HWC)
    image_HWC = scene.optics(rng, image_HWC, blur)
    return SyntheticCase(
        (np.clip(image_HWC, 0.0, 1.0) * 255.0).round().astype(np.uint8), lesion.mask_HW, label
    )


def write_isic2017(
    root: Path,
    *,
    num_train: int,
    num_val: int,
    num_test: int = 0,
    side_px: int = 256,
    seed: int = 0,
) -> None:
    """Write a data set of generated cases under ``root`` in the layout of ISIC 2017.

    Different splits and different seeds share no case. Existing files of the same names are
    overwritten; a split of zero images has no folder. `generated.json` says that the data set is
    generated.
    """
    counts: dict[Split, int] = {"train": num_train, "val": num_val, "test": num_test}
    root.mkdir(parents=True, exist_ok=True)
    record = {"command": "ckd-train data generate", "ckd": ckd_version(), "seed": seed}
    record |= {"side_px": side_px, **{f"num_{split}": count for split, count in counts.items()}}
    write_json(root / GENERATED, record)
    number = 0
    for split, count in counts.items():
        if count == 0:
            continue
        stem = f"ISIC-2017_{_WORDS[split]}"
        images, masks = root / f"{stem}_Data", root / f"{stem}_Part1_GroundTruth"
        images.mkdir(parents=True, exist_ok=True)
        masks.mkdir(exist_ok=True)
        lines = ["image_id,melanoma,seborrheic_keratosis"]
        for index in range(count):
            label = _TURN[index % len(_TURN)]
            case = dermoscopy(seed * _SEED_STRIDE + number, side_px, label)
            name = f"ISIC_{number:07d}"
            Image.fromarray(case.image_HWC).save(images / f"{name}.jpg", quality=92)
            mask_HW = case.mask_HW.astype(np.uint8) * np.uint8(255)
            Image.fromarray(mask_HW).save(masks / f"{name}_segmentation.png")
            lines.append(f"{name},{float(label == 'MEL')},{float(label == 'SBK')}")
            number += 1
        table = root / f"{stem}_Part3_GroundTruth.csv"
        replace_file(table, ("\n".join(lines) + "\n").encode())

"""How many damaged masks `ckd-train data check` finds: prints the table of docs/photographs.md.

    python tests/support/mask_damages.py ISIC_2017 [--seed 0]

Thirty images are taken by chance and damaged in one way: alone, and among 300 others as they are.
"""

import argparse
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.check import check_dataset
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.data.samples import Sample

NUM_DAMAGED, NUM_OTHERS = 30, 300
Mask = NDArray[np.bool_]

DAMAGES: Mapping[str, Callable[[Mask], Mask]] = {
    "none": lambda mask: mask,
    "turned by 180 degrees": lambda mask: mask[::-1, ::-1],
    "turned by 90 degrees clockwise": lambda mask: np.rot90(mask, -1),
    "turned by 90 degrees anticlockwise": lambda mask: np.rot90(mask),
    "mirrored left to right": lambda mask: mask[:, ::-1],
    "mirrored upside down": lambda mask: mask[::-1],
    "mirrored along a diagonal": lambda mask: mask.T,
    "inverted": lambda mask: ~mask,
    "empty": np.zeros_like,
    "full": np.ones_like,
    "the first one's mask for all": lambda mask: mask,
    "a photograph of plain skin": lambda mask: mask,
}


def found(name: str, samples: Sequence[Sample]) -> tuple[int, int]:
    """How many of the damaged masks the check names, and how many of the others."""
    with tempfile.TemporaryDirectory() as name_of_folder:
        root = Path(name_of_folder)
        (root / "images").mkdir()
        (root / "masks").mkdir()
        masks = [read_mask(sample.mask) for sample in samples if sample.mask is not None]
        for number, (sample, mask_HW) in enumerate(zip(samples, masks, strict=True)):
            shutil.copy(sample.image, root / "images" / f"{number:03d}.jpg")
            if number < NUM_DAMAGED:
                mask_HW = masks[0] if name.startswith("the first") else DAMAGES[name](mask_HW)
                if name.startswith("a photograph"):
                    rng = np.random.default_rng(number)
                    skin_HWC = rng.normal((140, 160, 200), 6, (*mask_HW.shape, 3))
                    skin_HWC = np.clip(skin_HWC, 0, 255).astype(np.uint8)
                    cv2.imwrite(str(root / "images" / f"{number:03d}.jpg"), skin_HWC)
            path = root / "masks" / f"{number:03d}.png"
            cv2.imwrite(str(path), np.ascontiguousarray(mask_HW).astype(np.uint8) * 255)
        report = check_dataset(root)
    named = [int(suspect.mask.stem) for suspect in report.suspects]
    by_code = {problem.code: problem.count for problem in report.problems}
    num_found = sum(number < NUM_DAMAGED for number in named)
    num_found += by_code.get(f"{name}-mask", 0) if name in ("empty", "full") else 0
    return num_found, sum(number >= NUM_DAMAGED for number in named)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    samples = read_split(arguments.data, "train").with_masks().samples
    order = np.random.default_rng(arguments.seed).permutation(len(samples))
    chosen = [samples[index] for index in order[: NUM_DAMAGED + NUM_OTHERS]]
    print(
        f"| done to {NUM_DAMAGED} masks | found alone | among {NUM_OTHERS} others | others named |"
    )
    for name in DAMAGES:
        alone, _ = found(name, chosen[:NUM_DAMAGED])
        among, others = found(name, chosen)
        print(f"| {name} | {alone} | {among} | {others} |", flush=True)


if __name__ == "__main__":
    main()

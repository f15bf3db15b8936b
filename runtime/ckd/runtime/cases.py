"""Acceptance cases as a bundle keeps them: images, recorded outputs, and how far others may lie.

Suffixes: N cases, S network side in pixels.
"""

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.arrays import read_arrays
from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError
from ckd.contract.parsing import parse_json
from ckd.contract.wiring import IMAGE

CASES: Final = "acceptance/cases.npz"
#: An INT8 network is compared with what its files say, computed node after node: whatever processor
#: it was made on, no sum saturates in these answers. How far they differ from those in float32 is
#: measured on real images, see `ckd.calibration`.
CASES_INT8: Final = "acceptance/cases.int8.npz"
TOLERANCES: Final = "acceptance/tolerances.json"
#: Of a tolerance; with a larger one every engine would pass.
_LARGEST: Final = 100.0
#: Unpacked; ours take some ten megabytes.
_MOST_CASES_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far outputs may differ from the recorded ones.

    Attributes:
        mask_jaccard: smallest Jaccard index of the two masks at network size.
        probability: largest absolute difference of any class.
        class_map: largest difference at any place, in standard deviations of the recorded map.
        features: likewise of any of the classifier's features, in their own standard deviations.
    """

    mask_jaccard: float
    probability: float
    class_map: float = 1.5  # bundles older than class maps have no such figure
    features: float = 2.0  # likewise


def pack_cases(images_NSS3: NDArray[np.uint8], outputs: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The content of `CASES`: images at network size, and all outputs in float16."""
    packed = io.BytesIO()
    half = {name: values.astype(np.float16) for name, values in outputs.items()}
    np.savez_compressed(packed, images=images_NSS3, **half)  # type: ignore[arg-type]
    return packed.getvalue()


def golden_images(bundle: Bundle) -> NDArray[np.uint8]:
    """Images of the cases, [N, S, S, 3] uint8 RGB.

    Raises:
        BundleError: the cases cannot be read, or do not fit the cascade.
    """
    images_NSS3, _ = read_cases(bundle, CASES, ())
    return images_NSS3


def read_cases(
    bundle: Bundle, name: str, outputs: Collection[str]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Images and recorded outputs, at least one case, of the shapes that the spec says.

    Args:
        bundle: to read from.
        name: `CASES` or `CASES_INT8`.
        outputs: tensors that are wanted.

    Raises:
        BundleError: they cannot be read, or do not fit the cascade.
    """
    packed = bundle.read(name)
    try:
        tensors = read_arrays(packed, [*outputs, "images"], _MOST_CASES_BYTES)
        tensors[IMAGE] = tensors.pop("images")
        count = len(tensors[IMAGE])
        if count == 0:
            raise ValueError("there is none")
        for tensor, values in tensors.items():
            expected = (count, *bundle.spec.shapes[tensor][1:])
            if values.shape != expected or values.dtype.kind != ("u" if tensor == IMAGE else "f"):
                raise ValueError(
                    f"{tensor}: {values.dtype}{list(values.shape)}, expected {list(expected)}"
                )
    except Exception as error:  # NumPy may raise anything for a damaged file
        raise BundleError(f"{bundle.path}: unreadable acceptance cases ({error})") from error
    return tensors.pop(IMAGE), tensors


def read_tolerance(bundle: Bundle, precision: str) -> Tolerance:
    """How far outputs in a precision may lie from the recorded ones.

    Raises:
        BundleError: the bundle does not say, or it is damaged.
    """
    try:
        limits = parse_json(bundle.read(TOLERANCES))["int8" if is_int8(precision) else precision]
        return Tolerance(**{name: _limit(name, x) for name, x in limits.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{bundle.path}: unreadable acceptance tolerances ({error})") from error


def cases_of(precision: str) -> str:
    """The file of the cases for networks in a precision."""
    return CASES_INT8 if is_int8(precision) else CASES


def is_int8(precision: str) -> bool:
    """Whether networks in a precision have cases of their own."""
    return precision.startswith("int8")


def _limit(name: str, limit: object) -> float:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= _LARGEST:
        raise ValueError(f"{name} is {limit!r}, expected a number from 0 to {_LARGEST:g}")
    return float(limit)

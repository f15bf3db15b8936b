"""Golden cases: what a bundle's networks answered when it was made, to be answered again here.

Whatever runs a bundle (another backend, an engine built on this device) must repeat the recorded
answers within the recorded tolerances before its own answers are worth anything.

Suffixes: N cases, K labels, S network side in pixels.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import BundleError
from ckd.contract.manifest import IMAGE, Manifest
from ckd.contract.preprocess import mask_from_logits, softmax
from ckd.runtime.cascade import Cascade

CASES: Final = "acceptance/cases.npz"
#: INT8 is another network: what it answers is compared with what it answered when it was made. How
#: far that lies from float32 is measured on real images, see `ckd.calibration`.
CASES_INT8: Final = "acceptance/cases.int8.npz"
TOLERANCES: Final = "acceptance/tolerances.json"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may lie from the recorded one."""

    mask_jaccard: float  # of the masks at network size, at least
    probability: float  # absolute difference of any class, at most


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one golden case came out; None where the system gives no such answer.

    Attributes:
        tensor_errors: of each answer, the largest difference in standard deviations of what was
            recorded.
        decision_flips: labels that are on the other side of their threshold, and one more if
            another label has the largest probability.
    """

    case: int
    mask_jaccard: float | None
    coarse_jaccard: float | None
    probability_error: float | None
    passed: bool
    tensor_errors: Mapping[str, float]
    decision_flips: int

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return asdict(self)


def pack_cases(images_NSS3: NDArray[np.uint8], answers: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The content of `CASES`: images at network size and every result tensor, in float16."""
    packed = io.BytesIO()
    half = {name: values.astype(np.float16) for name, values in answers.items()}
    np.savez_compressed(packed, images=images_NSS3, **half)  # type: ignore[arg-type]
    return packed.getvalue()


def run_acceptance(cascade: Cascade, bundle: Bundle) -> list[CaseResult]:
    """Run every golden case of a bundle through a loaded cascade.

    Raises:
        BundleError: the bundle has no readable cases, or none for the cascade's precision.
    """
    in_int8 = cascade.precision.startswith("int8")
    packed = bundle.read(CASES_INT8 if in_int8 else CASES)
    tolerances = bundle.read(TOLERANCES)
    try:
        with np.load(io.BytesIO(packed), allow_pickle=False) as archive:
            images_NSS3 = archive["images"]
            recorded = {name: archive[name] for name in cascade.manifest.results.names()}
        limits = json.loads(tolerances)["int8" if in_int8 else cascade.precision]
        tolerance = Tolerance(**{name: float(limit) for name, limit in limits.items()})
        _check_shapes(cascade, images_NSS3, recorded)
    except Exception as error:  # NumPy's reader raises whatever the bytes lead to
        raise BundleError(f"{bundle.path}: unreadable acceptance cases ({error})") from error
    return [
        _compare(
            index,
            cascade,
            cascade.run(image),
            {k: v[index] for k, v in recorded.items()},
            tolerance,
        )
        for index, image in enumerate(images_NSS3)
    ]


def _check_shapes(
    cascade: Cascade, images_NSS3: NDArray[Any], recorded: Mapping[str, NDArray[Any]]
) -> None:
    """Raise `ValueError` unless there is a case, and every case has an answer that fits."""
    count = len(images_NSS3)
    if count == 0:
        raise ValueError("there is none")
    for name, values in {IMAGE: images_NSS3, **recorded}.items():
        expected = (count, *cascade.manifest.shapes[name][1:])
        if values.shape != expected or values.dtype.kind not in "fu":
            raise ValueError(
                f"{name}: {values.dtype}{list(values.shape)}, expected {list(expected)}"
            )


def _compare(
    index: int,
    cascade: Cascade,
    given: Mapping[str, NDArray[Any]],
    recorded: Mapping[str, NDArray[Any]],
    tolerance: Tolerance,
) -> CaseResult:
    results = cascade.manifest.results
    overlaps: dict[str, float] = {}
    side, cut = cascade.manifest.image_size, cascade.manifest.thresholds.get("mask", 0.5)
    for name in (results.mask_logits, results.coarse_logits):
        if name is not None:
            aligned = name == results.coarse_logits and results.coarse_align_corners
            one, other = (
                mask_from_logits(
                    logits[0].astype(np.float32),
                    side,
                    side,
                    threshold=cut,
                    aligned_to_px=side if aligned else None,
                )
                for logits in (given[name][0], recorded[name])
            )
            overlaps[name] = confusion_from_masks(one, other).jaccard
    error, flips = None, 0
    if (name := results.class_logits) is not None:
        one_K, other_K = softmax(given[name][0]), softmax(recorded[name].astype(np.float32))
        error = float(np.abs(one_K - other_K).max())
        flips = _decision_flips(cascade.manifest, one_K, other_K)
    return CaseResult(
        case=index,
        mask_jaccard=overlaps.get(results.mask_logits or ""),
        coarse_jaccard=overlaps.get(results.coarse_logits or ""),
        probability_error=error,
        passed=all(o >= tolerance.mask_jaccard for o in overlaps.values())
        and (error is None or error <= tolerance.probability)
        and all(np.isfinite(given[name]).all() for name in recorded),
        tensor_errors={name: _error(given[name][0], recorded[name]) for name in recorded},
        decision_flips=flips,
    )


def _error(given: NDArray[Any], recorded: NDArray[Any]) -> float:
    expected = recorded.astype(np.float32)
    largest = np.abs(given.astype(np.float32) - expected).max()
    return float(largest / max(float(expected.std()), np.finfo(np.float32).tiny))


def _decision_flips(manifest: Manifest, one_K: NDArray[Any], other_K: NDArray[Any]) -> int:
    cuts_K = np.array([manifest.thresholds.get(label, 0.5) for label in manifest.labels])
    flips = int(np.count_nonzero((one_K > cuts_K) != (other_K > cuts_K)))
    return flips + int(one_K.argmax() != other_K.argmax())

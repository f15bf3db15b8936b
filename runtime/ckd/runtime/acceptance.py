"""Acceptance cases: images with the outputs that a bundle's networks gave when it was made.

Another backend, or an engine that was built on this device, is accepted only if it repeats the
recorded outputs within the recorded tolerances.

Suffixes: N cases, K labels, S network side in pixels.
"""

import io
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.arrays import read_arrays
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import BundleError
from ckd.contract.parsing import parse_json
from ckd.contract.wiring import IMAGE
from ckd.finding.verdict import Steps, Verdict
from ckd.runtime.chain import Chain
from ckd.runtime.verdicts import CaseJudge, read_verdicts

CASES: Final = "acceptance/cases.npz"
#: An INT8 network is compared with the outputs that it gave when it was made. How far these differ
#: from those in float32 is measured on real images, see `ckd.calibration`.
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


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The outcome of one case; None where the cascade has no such output.

    Attributes:
        case: index of the case.
        mask_jaccard: of the mask and the recorded one, at network size.
        coarse_jaccard: likewise, of the coarse mask.
        probability_error: largest absolute difference of any class.
        passed: True if all differences are within the tolerance, and so is the verdict where no
            number is nearer than three tolerances to what decides it.
        tensor_errors: of each output, the largest difference in standard deviations of the
            recorded tensor.
        decision_flips: number of parts of the verdict (most probable label, decision, referral)
            that are others than recorded.
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
    images_NSS3, _ = _read_cases(bundle, CASES, ())
    return images_NSS3


def run_acceptance(chain: Chain, bundle: Bundle) -> list[CaseResult]:
    """Run every case of a bundle through loaded networks.

    Raises:
        BundleError: the bundle has no readable cases, or none for the chain's precision.
    """
    exam = _Exam(chain, bundle)
    return [exam.run(index)[0] for index in range(exam.num_cases)]


def run_twice(chain: Chain, bundle: Bundle) -> tuple[list[CaseResult], dict[str, float]]:
    """Run every case twice, the second time in the opposite order.

    An engine that keeps something of the image before, or whose answers drift with every run,
    answers otherwise the second time.

    Returns:
        The worse result of each case; and of each output the largest difference between two answers
        to one image, in standard deviations of the first.

    Raises:
        BundleError: as `run_acceptance`.
    """
    exam = _Exam(chain, bundle)
    first = [exam.run(index) for index in range(exam.num_cases)]
    again = [exam.run(index) for index in reversed(range(exam.num_cases))][::-1]
    results, errors = [], dict.fromkeys(chain.spec.outputs.names(), 0.0)
    for (one, answered), (other, repeated) in zip(first, again, strict=True):
        results.append(_worse(one, other))
        for name, error in errors.items():
            errors[name] = _larger(error, tensor_error(repeated[name], answered[name]))
    return results, errors


def _limit(name: str, limit: object) -> float:
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 <= limit <= _LARGEST:
        raise ValueError(f"{name} is {limit!r}, expected a number from 0 to {_LARGEST:g}")
    return float(limit)


def verdicts_of(bundle: Bundle) -> bytes:
    """The content of `VERDICTS`: what each case's recorded outputs come to in float32.

    Raises:
        BundleError: the bundle has no readable cases.
    """
    _, recorded = _read_cases(bundle, CASES, bundle.spec.outputs.names())
    judge = CaseJudge(bundle.spec, bundle.read, "fp32", Steps(1.0, 1.0))
    count = len(next(iter(recorded.values())))
    verdicts = [
        judge.verdict({name: values[index][None] for name, values in recorded.items()})[0]
        for index in range(count)
    ]
    return (json.dumps([asdict(verdict) for verdict in verdicts]) + "\n").encode()


def _read_cases(
    bundle: Bundle, name: str, outputs: Collection[str]
) -> tuple[NDArray[np.uint8], dict[str, NDArray[Any]]]:
    """Images and recorded outputs, at least one, of the shapes that the spec says."""
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


class _Exam:
    """The cases of a bundle, for networks that are loaded."""

    def __init__(self, chain: Chain, bundle: Bundle) -> None:
        in_int8 = chain.precision.startswith("int8")
        self._chain = chain
        self._images_NSS3, self._recorded = _read_cases(
            bundle, CASES_INT8 if in_int8 else CASES, chain.spec.outputs.names()
        )
        self.num_cases = len(self._images_NSS3)
        try:
            limits = parse_json(bundle.read(TOLERANCES))["int8" if in_int8 else chain.precision]
            self._tolerance = Tolerance(**{name: _limit(name, x) for name, x in limits.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(
                f"{bundle.path}: unreadable acceptance tolerances ({error})"
            ) from error
        self._verdicts = read_verdicts(bundle, self.num_cases)
        self._judge = CaseJudge(
            chain.spec, bundle.read, chain.precision,
            Steps(self._tolerance.probability, 1 - self._tolerance.mask_jaccard),
        )  # fmt: skip

    def run(self, index: int) -> tuple[CaseResult, dict[str, NDArray[Any]]]:
        """The result of a case, and the outputs by tensor name, batch axis of one included."""
        tensors = self._chain.run_all(self._images_NSS3[index])
        outputs = {name: tensors[name] for name in self._recorded}
        recorded = {name: values[index] for name, values in self._recorded.items()}
        verdict = None if self._verdicts is None else self._verdicts[index]
        return _compare(index, self._judge, self._tolerance, outputs, recorded, verdict), outputs


def _worse(one: CaseResult, other: CaseResult) -> CaseResult:
    """What is worse of two results of one case."""
    both = {name: (error, other.tensor_errors[name]) for name, error in one.tensor_errors.items()}
    return CaseResult(
        case=one.case,
        mask_jaccard=_min(one.mask_jaccard, other.mask_jaccard),
        coarse_jaccard=_min(one.coarse_jaccard, other.coarse_jaccard),
        probability_error=(
            None
            if one.probability_error is None or other.probability_error is None
            else _larger(one.probability_error, other.probability_error)
        ),
        passed=one.passed and other.passed,
        tensor_errors={name: _larger(*errors) for name, errors in both.items()},
        decision_flips=max(one.decision_flips, other.decision_flips),
    )


def _min(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else min(one, other)


def _larger(one: float, other: float) -> float:
    """No number, if one of them is none."""
    return float(np.maximum(one, other))


def _compare(
    index: int,
    judge: CaseJudge,
    tolerance: Tolerance,
    outputs: Mapping[str, NDArray[Any]],
    recorded: Mapping[str, NDArray[Any]],
    verdict: Verdict | None,
) -> CaseResult:
    spec, batched = judge.spec, {name: values[None] for name, values in recorded.items()}
    answers, expected = judge.answers(outputs), judge.answers(batched)
    expected_verdict, firm = judge.verdict(batched)
    changed = judge.verdict(outputs)[0].changed(verdict or expected_verdict)
    fine = _overlap(answers.mask_HW, expected.mask_HW)
    coarse = _overlap(answers.coarse_mask_HW, expected.coarse_mask_HW)
    answered_K = np.array([*answers.probabilities.values()])
    expected_K = np.array([*expected.probabilities.values()])
    error = float(np.abs(answered_K - expected_K).max()) if answered_K.size else None
    tensor_errors = {name: tensor_error(outputs[name][0], recorded[name]) for name in recorded}
    map_error = tensor_errors.get(spec.outputs.class_map or "", 0.0)
    features_error = tensor_errors.get(spec.outputs.features or "", 0.0)
    return CaseResult(
        case=index,
        mask_jaccard=fine,
        coarse_jaccard=coarse,
        probability_error=error,
        passed=not set(changed) & set(firm)
        and all(o is None or o >= tolerance.mask_jaccard for o in (fine, coarse))
        and (error is None or error <= tolerance.probability)
        and map_error <= tolerance.class_map
        and features_error <= tolerance.features
        and all(np.isfinite(outputs[name]).all() for name in recorded),
        tensor_errors=tensor_errors,
        decision_flips=len(changed),
    )


def _overlap(one: NDArray[np.bool_] | None, other: NDArray[np.bool_] | None) -> float | None:
    if one is None or other is None:
        return None
    return confusion_from_masks(one, other).jaccard


def tensor_error(tensor: NDArray[Any], recorded: NDArray[Any]) -> float:
    """The largest difference of two tensors, in standard deviations of the recorded one."""
    expected = recorded.astype(np.float32)
    largest = np.abs(tensor.astype(np.float32) - expected).max()
    return float(largest / max(float(expected.std()), np.finfo(np.float32).tiny))

"""Acceptance cases: images with the outputs that a bundle's networks gave when it was made.

Another backend, or an engine that was built on this device, is accepted only if it repeats the
recorded outputs within the recorded tolerances.

Suffixes: N cases, K labels, S network side in pixels.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.finding.verdict import PARTS, Steps, Verdict
from ckd.runtime.cases import CASES, Tolerance, cases_of, read_cases, read_tolerance
from ckd.runtime.chain import Chain
from ckd.runtime.verdicts import CaseJudge, read_verdicts


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


def verdicts_of(bundle: Bundle) -> bytes:
    """The content of `VERDICTS`: what each case's recorded outputs come to in float32.

    Raises:
        BundleError: the bundle has no readable cases.
    """
    _, recorded = read_cases(bundle, CASES, bundle.spec.outputs.names())
    judge = CaseJudge(bundle.spec, bundle.read, "fp32", Steps(1.0, 1.0))
    count = len(next(iter(recorded.values())))
    verdicts = [
        judge.verdict({name: values[index][None] for name, values in recorded.items()})[0]
        for index in range(count)
    ]
    return (json.dumps([asdict(verdict) for verdict in verdicts]) + "\n").encode()


def firm_cases(bundle: Bundle, precision: str) -> dict[str, int]:
    """For each part of a verdict, on how many cases every engine in a precision must repeat it.

    On the others a number lies within three tolerances of what decides, so that one may not.

    Raises:
        BundleError: the bundle has no readable cases, or none for the precision.
    """
    _, recorded = read_cases(bundle, cases_of(precision), bundle.spec.outputs.names())
    steps = _steps(read_tolerance(bundle, precision))
    judge = CaseJudge(bundle.spec, bundle.read, precision, steps)
    counts = dict.fromkeys(PARTS, 0)
    for index in range(len(next(iter(recorded.values())))):
        batched = {name: values[index][None] for name, values in recorded.items()}
        for part in judge.verdict(batched)[1]:
            counts[part] += 1
    return counts


def _steps(tolerance: Tolerance) -> Steps:
    return Steps(tolerance.probability, 1 - tolerance.mask_jaccard)


class _Exam:
    """The cases of a bundle, for networks that are loaded."""

    def __init__(self, chain: Chain, bundle: Bundle) -> None:
        self._chain = chain
        self._images_NSS3, self._recorded = read_cases(
            bundle, cases_of(chain.precision), chain.spec.outputs.names()
        )
        self.num_cases = len(self._images_NSS3)
        self._tolerance = read_tolerance(bundle, chain.precision)
        self._verdicts = read_verdicts(bundle, self.num_cases)
        steps = _steps(self._tolerance)
        self._judge = CaseJudge(chain.spec, bundle.read, chain.precision, steps)

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

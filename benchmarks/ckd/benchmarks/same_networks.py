"""Proof that contenders run the same networks: their logits agree."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import CascadeContender, SystemContender
from ckd.benchmarks.report import Kind
from ckd.contract.errors import UsageError

#: By precision: contenders whose logits differ by more than this part of the largest do not run the
#: same networks.
SAME_NETWORKS: Final[Mapping[str, float]] = {
    "fp32": 0.05,
    "fp16": 0.25,
    "bf16": 0.25,
    "int8": 0.5,
    "int8-bf16": 0.5,
}


def logit_error(logits: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """The largest difference, as a part of the largest expected logit of its tensor."""
    return max(
        float(np.abs(logits[name] - values).max() / max(np.abs(values).max(), 1e-6))
        for name, values in expected.items()
    )


def check_same(
    racing: Mapping[Kind, CascadeContender | SystemContender], precision: str
) -> dict[Kind, float]:
    """Run each contender once, the chain first, and give the `logit_error` of each.

    The chain on a JPEG file is left out: it answers to a slightly different image.

    Raises:
        UsageError: the logits of one differ so much that its networks are not the same.
    """
    errors: dict[Kind, float] = {}
    for kind, step in racing.items():
        step()
        logits = step.logits()
        if kind == "chain":
            expected = logits
        if kind == "jpeg":
            continue
        errors[kind] = logit_error(logits, expected)
        if not errors[kind] <= SAME_NETWORKS[precision]:  # also where it is not a number
            raise UsageError(
                f"{kind}: logits differ from the bundle's by {errors[kind]:.2g} of the largest; "
                "give the run that the bundle was exported from"
            )
    return errors

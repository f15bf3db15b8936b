"""Findings made by hand: what a cascade would say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.cascade_json import spec_from_json
from ckd.contract.spec import CascadeSpec
from ckd.finding.answers import Answers
from ckd.finding.finding import Finding


def made_finding(
    mask_HW: NDArray[np.bool_] | None,
    coarse_mask_HW: NDArray[np.bool_] | None,
    probabilities: Mapping[str, float],
    **others: Any,
) -> Finding:
    """A finding that gives what its networks said."""
    made_by = {"quality": {}, "timings_ms": {"total": 1.5}, "bundle": "test", "backend": "fake"}
    return Finding(
        **{**made_by, "precision": "fp32", **others},
        mask_HW=mask_HW,
        coarse_mask_HW=coarse_mask_HW,
        probabilities=probabilities,
        raw=Answers(mask_HW, coarse_mask_HW, probabilities, others.get("class_maps", {})),
    )


def tiny_spec() -> CascadeSpec:
    """Of the committed tiny bundle: a whole CKDNet at 32 px."""
    folder = Path(__file__).parents[1] / "assets" / "tiny_bundle"
    return spec_from_json((folder / "cascade.json").read_bytes())

"""Sections of a bundle that decides, made by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_from_json, spec_to_json
from ckd.contract.hashes import write_hashes
from ckd.contract.spec import CascadeSpec, Section
from ckd.finding.probabilities import ProbabilityRule
from ckd.runtime.acceptance import verdicts_of
from ckd.runtime.verdicts import VERDICTS


def deciding_sections(
    spec: CascadeSpec,
    *,
    at_least: Mapping[str, float] | None = None,
    in_set: Mapping[str, float] | None = None,
    temperature: float = 1.0,
    bias: Mapping[str, float] | None = None,
    masks_agree: float | None = 0.3,
) -> dict[str, Section]:
    """All four sections that a decision rests on.

    Args:
        spec: of the cascade, whose first label is the target.
        at_least: threshold of each operating point.
        in_set: threshold of each label's membership in the set.
        temperature: of every precision.
        bias: of each label; 0 by default.
        masks_agree: smallest agreement of both masks without a doubt.
    """
    labels = spec.labels
    at_least = at_least or {"screening": 0.2, "balanced": 0.4, "specific": 0.8}
    probabilities: dict[str, Any] = {
        "temperature": dict.fromkeys(("fp32", "fp16", "int8"), temperature),
        "bias": dict(bias or dict.fromkeys(labels, 0.0)),
        "prevalence": dict(zip(labels, (0.2, 0.1, 0.7), strict=True)),
    }
    sections = {"probabilities": Section(probabilities)}
    rule = ProbabilityRule.of(replace(spec, sections=sections))
    assert rule is not None
    counts = {"found": 9, "targets": 10, "spared": 30, "others": 40}
    points = {name: {"at_least": value, **counts} for name, value in at_least.items()}
    sections["points"] = Section(
        {
            "target": labels[0],
            "default": "screening",
            "points": points,
            "probabilities": rule.mark,
        }
    )
    sections["sets"] = Section(
        {
            "error_rate": 0.1,
            "at_least": in_set or dict.fromkeys(labels, 0.3),
            "counted": dict.fromkeys(labels, 50),
            "probabilities": rule.mark,
        }
    )
    sections["refer"] = Section({"masks_agree": masks_agree, "unlike_above": None})
    return sections


def let_decide(bundle: Path, **choices: Any) -> None:
    """Write these sections into a bundle folder."""
    spec = spec_from_json((bundle / CASCADE).read_bytes())
    sections = {**spec.sections, **deciding_sections(spec, **choices)}
    (bundle / CASCADE).write_text(spec_to_json(replace(spec, sections=sections)))
    write_hashes(bundle)
    (bundle / VERDICTS).write_bytes(verdicts_of(Bundle(bundle)))
    write_hashes(bundle)


def as_json(spec: CascadeSpec) -> Any:
    """What `cascade.json` says, to be changed."""
    return json.loads(spec_to_json(spec))

"""The model card: measured facts that a person must know of a bundle before trusting it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckd.contract.card import provenance_rows
from ckd.contract.labels import lesion_name
from ckd.contract.spec import CascadeSpec
from ckd.finding.sentences import NOTICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Facts of a trained system beside its weights.

    Attributes:
        scores: content of `scores.json` of `ckd-train evaluate`.
        learning_curves: picture of the training, copied into the bundle.
        notes: Markdown by the maker: how it was chosen, known failures, how to repeat it.
    """

    scores: Mapping[str, Any] | None = None
    learning_curves: Path | None = None
    notes: str = ""


_LIMITS = """\
- Where this card has no part "When there is no finding", *any* image gets a mask and probabilities,
  also one that shows no skin; where it has no part "Probabilities", these are a network's
  confidence and not a calibrated risk.
- Scores fall on images from other clinics, cameras and skin tones than those trained on.
- The labels above do not cover the lesions of a clinic; {other_kinds}.
"""

_INDEPENDENT = "; each a yes/no question of its own, an image may be of none"


def model_card(spec: CascadeSpec, evidence: Evidence) -> str:
    """Markdown text of a bundle's model card."""
    provenance, exclusive = spec.provenance, spec.outputs.exclusive
    other_kinds = (
        "one of another kind gets the most similar"
        if exclusive
        else "to be none of them does not make a lesion harmless"
    )
    labels = ", ".join(f"{label} ({lesion_name(label)})" for label in spec.labels)
    lines = [
        f"# {spec.name}",
        "",
        f"**{NOTICE}**",
        "",
        "## What it is",
        "",
        f"- System: {spec.system}; networks: {', '.join(n.name for n in spec.nodes)}",
        f"- Input: 8-bit RGB, squashed to {spec.image_size} x {spec.image_size} px",
        f"- Labels: {labels}{'' if exclusive else _INDEPENDENT}",
        f"- Precisions: {', '.join(spec.file_kinds())}",
        *_explanations(spec),
        "",
        "## Where the weights come from",
        "",
        *(f"- {name}: {value}" for name, value in provenance_rows(provenance)),
        "",
        "## Measured",
        "",
        *(
            _measured(evidence.scores)
            if evidence.scores
            else ["Nothing was measured for this bundle."]
        ),
        "",
    ]
    if evidence.learning_curves is not None:
        lines += [f"![Loss and scores by epoch]({evidence.learning_curves.name})", ""]
    lines += ["## Limits", "", _LIMITS.format(other_kinds=other_kinds)]
    if evidence.notes:
        lines += [evidence.notes.strip(), ""]
    return "\n".join(lines)


def _explanations(spec: CascadeSpec) -> list[str]:
    if spec.outputs.class_map is None:
        return []
    height, width = spec.shapes[spec.outputs.class_map][2:]
    return [
        f"- Explanations: class activation maps of {height} x {width} places; what they cannot "
        "say stands in `ckd.finding.explanation`"
    ]


def _measured(scores: Mapping[str, Any]) -> list[str]:
    """A table of the official scores with their bootstrap intervals."""
    lines = [
        f"{scores['num_images']} images of {scores['dataset']} ({scores['split']} split), views: "
        f"{scores['views']}, masks cut at {scores['mask_threshold']}. "
        "Intervals: 95 %, bootstrap over images.",
        "",
        "| score | value | 95 % interval |",
        "|---|---|---|",
    ]
    parts = {**scores["segmentation"], "": scores["classification"]}
    for part, figures in parts.items():
        for name, (low, high) in (figures or {}).get("interval_95", {}).items():
            value = figures[name] if name in figures else figures["per_label"][name[4:]]["auc"]
            if value is not None and low is not None:
                title = f"{part} {name}".strip().replace("_", " ")
                lines.append(f"| {title} | {value:.3f} | {low:.3f} to {high:.3f} |")
    return lines

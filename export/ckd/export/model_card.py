"""The model card: what a person must know of a bundle before trusting it, from measured facts."""

from collections.abc import Mapping
from typing import Any

from ckd.contract.labels import lesion_name
from ckd.contract.manifest import Manifest
from ckd.contract.results import NOTICE

_LIMITS = """\
- A mask and three or more probabilities are given for *any* image, also for one that shows no skin.
- Scores fall on images from other clinics, cameras and skin tones than those trained on.
- The three challenge classes do not cover the lesions of a clinic; a lesion of another kind gets
  the most similar of them.
- Probabilities are a network's confidence, not a calibrated risk.
"""


def model_card(manifest: Manifest, scores: Mapping[str, Any] | None) -> str:
    """Markdown text of a bundle's model card.

    Args:
        manifest: of the bundle.
        scores: content of `scores.json` of `ckd-train evaluate`, or None if nothing was measured.
    """
    provenance = manifest.provenance
    labels = ", ".join(f"{label} ({lesion_name(label)})" for label in manifest.labels)
    lines = [
        f"# {manifest.name}",
        "",
        f"**{NOTICE}**",
        "",
        "## What it is",
        "",
        f"- System: {manifest.system}; networks: {', '.join(n.name for n in manifest.nodes)}",
        f"- Input: 8-bit RGB, squashed to {manifest.image_size} x {manifest.image_size} px",
        f"- Labels: {labels}",
        f"- Precisions: {', '.join(manifest.precisions())}",
        "",
        "## Where the weights come from",
        "",
        *(f"- {key.replace('_', ' ')}: {value}" for key, value in provenance.items()),
        "",
        "## Measured",
        "",
        *(_measured(scores) if scores else ["Nothing was measured for this bundle."]),
        "",
        "## Limits",
        "",
        _LIMITS,
    ]
    return "\n".join(lines)


def _measured(scores: Mapping[str, Any]) -> list[str]:
    """A table of the official scores with their bootstrap intervals."""
    lines = [
        f"{scores['num_images']} images of {scores['data']} ({scores['split']}), "
        f"views: {scores['views']}. Intervals: 95 %, bootstrap over images.",
        "",
        "| score | value | interval |",
        "|---|---|---|",
    ]
    for part in ("fine", "coarse", "classification"):
        for name, entry in (scores.get(part) or {}).items():
            if isinstance(entry, Mapping) and "value" in entry:
                low, high = entry["interval"]
                lines.append(f"| {part} {name} | {entry['value']:.3f} | {low:.3f} to {high:.3f} |")
    return lines

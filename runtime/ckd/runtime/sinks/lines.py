"""Findings as lines on stdout: JSON for programs, or a short text for people."""

import json
from collections.abc import Mapping

from ckd.console.progress import printable
from ckd.finding.finding import Finding


def print_finding(
    name: str, finding: Finding, *, as_json: bool, files: Mapping[str, str] | None = None
) -> None:
    """Print a finding as one line.

    Args:
        name: of the image or the frame.
        finding: to print.
        as_json: one JSON object, with the keys of `Finding.as_dict`; otherwise a text.
        files: paths of what was written of the finding, by kind.
    """
    paths = files or {}
    if as_json:
        print(
            json.dumps({"image": name, **finding.as_dict(), **paths}, allow_nan=False), flush=True
        )
        return
    top = finding.top
    label = finding.headline if top is None else f"{top} {finding.probabilities[top]:.0%}"
    label = label and f"  {label}"
    line = (
        f"{name}{label}  lesion {finding.lesion_area_px} px  "
        f"{finding.timings_ms['total']:.0f} ms  {paths.get('overlay', '')}"
    )
    print(printable(line))

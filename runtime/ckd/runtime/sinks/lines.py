"""Findings on stdout: a line of JSON for programs, or a short text for people."""

import json
from collections.abc import Mapping
from typing import Any

from ckd.console.progress import show
from ckd.finding.finding import Finding


def print_finding(
    name: str,
    finding: Finding,
    *,
    as_json: bool,
    files: Mapping[str, str] | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Print a finding: as JSON in one line, as text with the decision's reasons beneath.

    Args:
        name: of the image or the frame.
        finding: to print.
        as_json: one JSON object, with the keys of `Finding.as_dict`; otherwise a text, whose
            further lines are indented.
        files: paths of what was written of the finding, by kind.
        about: further facts about the image, for JSON only.
    """
    paths = files or {}
    if as_json:
        record = {"image": name, **(about or {}), **finding.as_dict(), **paths}
        print(json.dumps(record, allow_nan=False), flush=True)
        return
    said = [finding.second or finding.headline]
    if finding.decision is not None:
        said.insert(0, finding.headline)
    figures = (f"lesion {finding.lesion_area_px} px", f"{finding.timings_ms['total']:.0f} ms")
    first = "  ".join((name, *filter(None, said), *figures, paths.get("overlay", "")))
    for line in (first, *(f"    {sentence}" for sentence in (*finding.beneath, *finding.coaching))):
        show(line)

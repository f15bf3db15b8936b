"""The report of `ckd-bench capture`."""

import json
import math
from pathlib import Path
from typing import Any

from ckd.benchmarks.capture import CaptureReport, Caught
from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.markdown import machine_rows, rounded, table
from ckd.contract.whole_file import replace_file
from ckd.data.captures import FAULTS, GRADES, MEANINGS


def to_markdown(report: CaptureReport, machine: Machine, during: Conditions) -> str:
    """The report as it is committed."""
    kinds = {"photographs": report.photographs, "scenes": report.scenes}
    rows = [
        (
            f"`{hint}`",
            *(str(one.hints[hint]) for one in kinds.values()),
            *(_found(one, hint) for one in kinds.values()),
        )
        for hint in FAULTS
    ]
    head = (
        "hint", "of clean photographs", "of clean scenes",
        "strong, caught as such (at all; or no answer), photographs", "scenes",
    )  # fmt: skip
    passed = "; ".join(
        f"{one.passed} of {one.total} {name} whose lesion lies well pass as they are "
        f"({one.passed / max(one.total, 1):.1%}, 95 % interval {one.interval[0]:.1%} to "
        f"{one.interval[1]:.1%})"
        + (
            f", and {one.unframed_caught} of the {one.unframed} others, whose lesion is cut off, "
            "small or off centre by its true outline, get a hint"
        )
        * bool(one.unframed)
        for name, one in kinds.items()
    )
    worth = [
        (name, str(figures["pictures"]), _estimate(figures["auc"]), _estimate(figures["jaccard"]))
        for name, figures in report.worth.items()
    ]
    cost = (
        f"At 1920x1080 the checks take {report.capture_ms:.2f} ms, the networks "
        f"{report.networks_ms:.2f} ms ({report.capture_ms / report.networks_ms:.1%} of them), the "
        f"whole frame {report.total_ms:.2f} ms (medians of the same run)."
    )
    good_for = (
        "What it is good for: photographs by whether they pass. Optical: as they are, and with "
        "faults of light and lens, strong ones and one of a lesser grade. Framing: with faults of "
        "where the lesion lies, which may mislead the outline that they are judged by."
    )
    blocks = (
        f"# The capture coach: {report.bundle}", f"{passed}.", table(head, rows),
        "Strong is the third grade: "
        + "; ".join(f"`{hint}` {meaning}" for hint, meaning in MEANINGS.items()) + ".",
        good_for, table(("pictures that", "number", "AUC of the target", "Jaccard index"), worth),
        cost, table(("measured", "on"), machine_rows(machine, during)),
    )  # fmt: skip
    return "\n\n".join(blocks) + "\n"


def write_capture(
    report: CaptureReport, machine: Machine, during: Conditions, out: Path
) -> list[str]:
    """Write capture.json and capture.md; gives their names."""
    replace_file(out / "capture.md", to_markdown(report, machine, during).encode())
    content = json.dumps(rounded(report.as_dict()), indent=2) + "\n"
    replace_file(out / "capture.json", content.encode())
    return ["capture.json", "capture.md"]


def _found(caught: Caught, hint: str) -> str:
    named, any_hint, held, total = caught.found.get((hint, GRADES[-1]), (0, 0, 0, 0))
    return f"{named} ({any_hint}; {held}) of {total}" if total else ""


def _estimate(figure: dict[str, Any]) -> str:
    if figure["value"] is None or not math.isfinite(figure["value"]):
        return "not assessed"
    low, high = figure["interval_95"]
    return f"{figure['value']:.3f} ({low:.3f} to {high:.3f})"

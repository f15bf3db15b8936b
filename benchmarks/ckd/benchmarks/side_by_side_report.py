"""Bundles side by side, written as JSON and as a table."""

import json
from dataclasses import asdict
from pathlib import Path

from ckd.benchmarks.accuracy import scored
from ckd.benchmarks.markdown import table
from ckd.benchmarks.side_by_side import Side, SideBySide
from ckd.contract.whole_file import replace_file


def to_json(report: SideBySide) -> str:
    """Everything, times in milliseconds."""
    tree = {"schema": 1, "measured": "side by side", **asdict(report)}
    for side, record in zip(report.sides, tree["sides"], strict=True):
        record["accuracy"] = side.accuracy and side.accuracy.as_dict()
    return json.dumps(tree, indent=1) + "\n"


def to_markdown(report: SideBySide) -> str:
    """A table for people, with the machine and what disturbed the measurement."""
    ways = list(dict.fromkeys(way for side in report.sides for way in side.frame))
    head = ("bundle", "networks", "parameters", "GMAC", "FP32 files", *ways)
    scores = ("Jaccard", "Dice", "mean AUC") if report.data else ()
    rows = [
        (
            f"{side.bundle.partition('@')[0]} ({side.image_size} px)"
            + ("" if side.trained else ", untrained"),
            str(side.num_networks),
            f"{side.size.parameters / 1e6:.2f} M",
            f"{side.size.macs / 1e9:.2f}",
            f"{side.size.fp32_bytes / 1e6:.1f} MB",
            *(f"{side.frame[way].p50_ms:.1f} ms" if way in side.frame else "" for way in ways),
            *_scores(side, len(scores)),
        )
        for side in report.sides
    ]
    data = f" Scores on {report.data}, single view, with 95 % intervals." if report.data else ""
    one = next(iter(report.sides[0].frame.values()))
    lines = [
        "# Systems side by side",
        "",
        "Medians of one 1920x1080 frame, from the frame to masks and probabilities; all in turn in "
        f"one run. Sizes are of the exported networks.{data}",
        "",
        table((*head, *scores), rows),
        "",
        f"{report.machine.cpu}, {report.threads} threads; {one.runs} turns after {one.warmup} for "
        f"warm-up. Other processes used {report.conditions.other_cores:.2f} cores. "
        f"{report.conditions.date}.",
        "",
        f"`{report.conditions.command}`",
        "",
        ", ".join(f"{name} {version}" for name, version in report.machine.versions.items()),
    ]
    return "\n".join(lines) + "\n"


def _scores(side: Side, num_columns: int) -> tuple[str, ...]:
    return ("",) * num_columns if side.accuracy is None else scored(side.accuracy.scores)


def write_side_by_side(report: SideBySide, folder: Path) -> list[str]:
    """Write ``systems.json`` and ``systems.md``; their names are returned."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "systems.json", to_json(report).encode())
    replace_file(folder / "systems.md", to_markdown(report).encode())
    return ["systems.json", "systems.md"]

"""Markdown that reports share: tables, ratios, the machine, and numbers short enough to read."""

import math
from collections.abc import Iterable
from typing import Any

from ckd.benchmarks.machine import Conditions, Machine
from ckd.benchmarks.measure import Ratio


def machine_rows(machine: Machine, during: Conditions) -> Iterable[tuple[str, str]]:
    """The place and time of a measurement, as rows of two cells."""
    yield "CPU", f"{machine.cpu}, {machine.cores} cores" + (", virtual" if machine.virtual else "")
    yield "instructions", ", ".join(machine.cpu_flags) or "none of note"
    if machine.governor is not None:
        yield "frequency governor", machine.governor
    yield "memory", f"{machine.memory_gb:.1f} GB"
    yield "system", machine.system
    yield (
        "versions",
        ", ".join(
            f"{name} {version}"
            for name, version in {"Python": machine.python, **machine.versions}.items()
        ),
    )
    yield "date", during.date
    yield "duration", f"{during.duration_s:.0f} s"
    yield "load average", f"{during.load_before:.2f} before, {during.load_after:.2f} after"
    yield (
        "others meanwhile",
        (
            f"{during.other_cores:.2f} cores used by other processes, "
            f"{during.stolen_cores:.2f} withheld by the hypervisor"
        ),
    )
    if during.command:
        yield "command", f"`{during.command}`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table; if it has more than two columns, all but the first hold numbers."""
    rule = ["---", *("---:" for _ in head[1:])] if len(head) > 2 else ["---"] * len(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def estimate_text(value: float, form: str = ".3f") -> str:
    """A figure, or that there is none: a share of nothing, an area under a curve of one class."""
    return format(value, form) if math.isfinite(value) else "not assessed"


def ratio_text(ratio: Ratio | None) -> str:
    """The median, and the range that holds 80% of the turns; empty for None."""
    return "" if ratio is None else f"{ratio.median:.2f}x ({ratio.p10:.2f} to {ratio.p90:.2f})"


def rounded(value: Any) -> Any:
    """The same tree with every number rounded to five figures; what is no number becomes None."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value

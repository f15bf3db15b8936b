"""The table and the picture of a study, made of what its folder holds so far.

table.csv     a row for each figure of each candidate and each of its stages
summary.json  the figures of every fold
study.png     the same as dots
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ckd.console.tables import text_table
from ckd.contract.whole_file import replace_file
from ckd.train.study.picture import study_figure
from ckd.train.study.rows import HEADLINES, Row, gathered
from ckd.train.study.setting import Study


def report(study: Study, out: Path) -> list[Row]:
    """Write table and picture of what is finished, and return the rows."""
    rows = gathered(study, out)
    replace_file(out / "table.csv", _csv(rows).encode())
    replace_file(out / "summary.json", (json.dumps(_tree(rows), indent=2) + "\n").encode())
    if (figure := study_figure(study.name, rows)) is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=150)
        replace_file(out / "study.png", picture.getvalue())
    return rows


def table_text(rows: Sequence[Row]) -> str:
    """The rows for a terminal."""
    header = ["", *(f"{h} {part}" for h in HEADLINES for part in ("mean", "worst", "seeds"))]
    header += ["folds", "hours", "M parameters"]
    names = list(dict.fromkeys(name for row in rows for name in row.elsewhere))
    header += [f"elsewhere {name}" for name in names]
    lines = []
    for row in rows:
        indent = "" if row.kind == "candidate" else "  "
        line = [indent + row.name]
        for name in HEADLINES:
            shown = row.headline(name)
            line += [_number(f(shown)) for f in (row.mean, row.worst, row.spread)]
        line.append(str(len(row.folds)))
        line.append("" if row.hours is None else f"{row.hours:.2f}")
        line.append("" if row.parameters is None else f"{row.parameters:.2f}")
        line += [_number(row.elsewhere.get(name)) for name in names]
        lines.append(tuple(line))
    return text_table(tuple(header), lines, tuple(header[1:]))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    figures = dict.fromkeys(name for row in rows for fold in row.folds.values() for name in fold)
    writer.writerow(("name", "kind", "figure", "mean", "worst", "over_seeds", "folds"))
    for row in rows:
        for name in figures:
            if name != "num_images" and (mean := row.mean(name)) is not None:
                spread = row.spread(name)
                writer.writerow(
                    (
                        row.name, row.kind, name, f"{mean:.4f}", f"{row.worst(name):.4f}",
                        "" if spread is None else f"{spread:.4f}", len(row.values(name)),
                    )
                )  # fmt: skip
    return text.getvalue()


def _tree(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "name": row.name,
            "kind": row.kind,
            "hours": row.hours,
            "million_parameters": row.parameters,
            "folds": {str(k): dict(figures) for k, figures in row.folds.items()},
            "later_folds": {str(k): dict(figures) for k, figures in row.later.items()},
            "left_out": list(row.left_out),
            "seeds": [dict(seed) for seed in row.seeds],
            "elsewhere": dict(row.elsewhere),
        }
        for row in rows
    ]

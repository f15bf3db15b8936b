"""The folder that a measurement of robustness writes, for people and for programs.

corruptions.json        all figures, with intervals of the summary
corruptions.csv         every figure in every setting
corruptions.md          the tables for a model card
corruptions.png         each figure by grade, with a curve for each kind
corruptions_sheet.png   one photograph in each kind at grades 1, 3 and 5
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from ckd.contract.disk import lasting_folder
from ckd.contract.whole_file import replace_file
from ckd.data.corruptions import CORRUPTIONS, GRADES, corrupted
from ckd.data.samples import Sample
from ckd.finding.files import write_json
from ckd.finding.overlay import draw_border
from ckd.scores.estimates import LEAST
from ckd.train.evaluation import plots
from ckd.train.evaluation.folder import TRUTH_RGB
from ckd.train.evaluation.robustness import Robustness, working_copy
from ckd.train.evaluation.robustness_report import (
    TOLD,
    Summary,
    robustness_dict,
    robustness_text,
    value_of,
)

_SHEET_GRADES: Final = (1, 3, 5)


def write_robustness(
    robustness: Robustness,
    summary: Sequence[Summary],
    shown: Sample,
    out: Path,
    about: Mapping[str, Any],
    sentence: str,
) -> None:
    """Write the files described above; the JSON file is last, so a folder with it is whole.

    Args:
        robustness: what was answered.
        summary: of `summaries`.
        shown: photograph of the sheet.
        out: folder, created if missing.
        about: written into the JSON file too.
        sentence: says which images were damaged, and by which point was decided.
    """
    lasting_folder(out)
    (out / "corruptions.json").unlink(missing_ok=True)
    tree = robustness_dict(robustness, summary)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(tree["settings"][0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(tree["settings"])
    replace_file(out / "corruptions.csv", table.getvalue().encode())
    text = robustness_text(robustness, summary, sentence)
    replace_file(out / "corruptions.md", f"{text}\n".encode())
    plots.save(robustness_figure(robustness), out / "corruptions.png")
    sheet = corruption_sheet(shown, tuple(robustness.kinds()))
    plots.save(sheet, out / "corruptions_sheet.png", dpi=120)
    write_json(out / "corruptions.json", {**about, **tree})


def robustness_figure(robustness: Robustness) -> Figure:
    """Each figure that was assessed by grade, with a curve for each kind; grade 0 is undamaged."""
    rows = np.arange(robustness.undamaged.num_images)
    told = {
        figure: name
        for figure, (name, _) in TOLD.items()
        if not np.isnan(robustness.undamaged.value(figure, rows, LEAST))
    }
    figure_columns = max(1, len(told))
    picture = plots.blank_figure(3.6 * figure_columns + 1.6, 3.8)
    panels = picture.subplots(1, figure_columns, squeeze=False)[0]
    lines = []
    for axes, (figure, name) in zip(panels, told.items(), strict=False):
        plots.tidy(axes)
        start = robustness.undamaged.value(figure, rows, LEAST)
        lines = [
            axes.plot(
                (0, *GRADES),
                [start, *(value_of(setting, figure) for setting in settings)],
                color=plots.COLOURS[number % len(plots.COLOURS)],
                linestyle="-" if number < len(plots.COLOURS) else "--",
                label=kind,
            )[0]
            for number, (kind, settings) in enumerate(robustness.kinds().items())
        ]
        axes.set(title=name, xlabel="grade")
    if lines:
        picture.legend(handles=lines, loc="outside right center", fontsize=9)
    return picture


def corruption_sheet(sample: Sample, kinds: Sequence[str]) -> Figure:
    """One photograph in each kind at grades 1, 3 and 5, with the border of its true mask."""
    image_HWC, truth_HW = working_copy(sample)
    tiles = []
    for kind in kinds:
        for grade in _SHEET_GRADES:
            canvas_HWC, mask_HW = corrupted(image_HWC, truth_HW, kind, grade, sample.id)
            canvas_HWC = canvas_HWC.copy()
            if mask_HW is not None:
                thick = max(1, min(canvas_HWC.shape[:2]) // 128)
                draw_border(canvas_HWC, mask_HW, TRUTH_RGB, thick)
            strength = CORRUPTIONS[kind].strengths[grade - 1]
            tiles.append(plots.Tile(canvas_HWC, (f"{kind} {grade}", f"{strength:g}")))
    heading = {f"{sample.id} at grades {', '.join(map(str, _SHEET_GRADES))}": tiles}
    return plots.contact_sheet(heading, {"truth": TRUTH_RGB}, "Kinds of damage")

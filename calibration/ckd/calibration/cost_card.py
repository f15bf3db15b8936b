"""What INT8 costs, measured on every installed backend and written into the bundle."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ckd.calibration.cost import Cost, answer, cost_of, groups_of
from ckd.calibration.int8_bundle import CALIBRATION, COST_TITLE
from ckd.console import Bars
from ckd.contract.bundle import Bundle
from ckd.contract.card import MODEL_CARD, with_part
from ckd.contract.hashes import write_hashes
from ckd.contract.parsing import read_json
from ckd.data.samples import SampleSet
from ckd.runtime.backends.selection import installed, open_backend
from ckd.runtime.cascade import Cascade
from ckd.scores.images import ImageScore


def exact_answers(
    source: Bundle, samples: SampleSet, bars: Bars
) -> dict[str, Sequence[ImageScore]]:
    """Scores of the float32 files by backend."""
    return {name: _answers(source, name, "fp32", samples, bars("float32")) for name in installed()}


def costs_of(
    bundle: Bundle, exact: Mapping[str, Sequence[ImageScore]], samples: SampleSet, bars: Bars
) -> dict[str, Cost]:
    """What the INT8 files lose against ``exact``, by backend."""
    groups = groups_of(samples)
    return {
        name: cost_of(
            _answers(bundle, name, "int8", samples, bars("INT8")),
            scores, samples, bundle.spec, groups,
        )
        for name, scores in exact.items()
    }  # fmt: skip


def record_cost(folder: Path, text: str, record: Mapping[str, Any]) -> None:
    """Write the cost into a bundle's folder: as JSON for programs, and into the model card.

    Args:
        folder: of the bundle; its hashes are written anew.
        text: of `cost_text`.
        record: added to calibration.json.
    """
    known = read_json(folder / CALIBRATION)
    (folder / CALIBRATION).write_text(json.dumps({**known, **record}) + "\n")
    if (card := folder / MODEL_CARD).is_file():
        card.write_text(with_part(card.read_text(), COST_TITLE, text))
    write_hashes(folder)


def cost_text(
    int8: Sequence[str], kept_float: Sequence[str], costs: Mapping[str, Cost], how: str
) -> str:
    """The part of a model card on what INT8 costs, without its title.

    Args:
        int8: networks in INT8.
        kept_float: parts of these that stay in float.
        costs: by backend.
        how: sentence that says on which images it was measured, and what they were used for.
    """
    lines = [
        f"In INT8: {', '.join(int8)}"
        + (f", except {', '.join(kept_float)}." if kept_float else "."),
        how,
        "",
        "| backend | Jaccard | AUC | changed | of melanomas |",
        "|---|---|---|---|---|",
    ]
    for backend, cost in costs.items():
        auc = ", ".join(f"{task} {loss:.4f}" for task, loss in cost.auc.items())
        jaccard = "-" if cost.jaccard is None else f"{cost.jaccard:.4f}"
        lines.append(
            f"| {backend} | {jaccard} | {auc} | {cost.flips_in_words()} | {cost.melanoma_flips} |"
        )
    return "\n".join(lines)


def _answers(
    bundle: Bundle, backend: str, precision: str, samples: SampleSet, progress: Any
) -> Sequence[ImageScore]:
    with Cascade(bundle, open_backend(backend, "cpu", None), precision) as cascade:
        return answer(cascade.predict, samples, progress)

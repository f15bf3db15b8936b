"""Fits the limits of captures on pictures whose faults are known: section "capture".

Half of the pictures fit, the other half tells how well the limits do. Where a lesion may lie is no
matter of statistics: those limits are set, as is that of underexposure (`ckd.capture.limits`), and
pictures beyond them are not called clean.

capture.md     the limits, how many clean pictures pass, and how many of each fault are caught
capture.png    scores of clean pictures and of each grade, with the limit
sections.json  for `ckd-export sections`; written last, so a folder with it is whole
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ckd.capture import CHECKS, capture_scores, hints_of, limit_at
from ckd.console import Bars, make_folder, no_bars
from ckd.contract.errors import InputError
from ckd.contract.fitted_sections import FITTED_SECTIONS, write_fitted
from ckd.contract.version import ckd_version
from ckd.contract.whole_file import replace_file
from ckd.data.captures import FAULTS, GRADES, MEANINGS, faulty, scene
from ckd.data.layouts import read_split
from ckd.data.masks import read_mask
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.groups import markdown_table
from ckd.scores.ranking import roc_auc
from ckd.scores.shares import share_interval
from ckd.train.evaluation import plots
from ckd.train.fitting.alone import alone_in

SECTION: Final = "capture"
#: Limits that are set, by name of the score.
SET_LIMITS: Final[Mapping[str, float]] = {
    name: check.set_at for name, check in CHECKS.items() if check.set_at is not None
}
#: Of clean pictures so many may fail a check. The first share at which enough strong faults are
#: caught is taken, and otherwise the last.
_FALSE_REJECTS: Final = (0.01, 0.015, 0.02, 0.03)
_ENOUGH: Final = 0.9
#: Clean pictures of each kind and half of which there must be so many.
_LEAST_CLEAN: Final = 5
#: Side of what a network sees of a picture.
_SEEN_PX: Final = 192

Picture = tuple[NDArray[np.uint8], NDArray[np.bool_], str]
Scores = dict[str, float]


@dataclass(slots=True)
class Measured:
    """Scores of pictures: of the clean ones, and by hint and grade of faulty ones."""

    clean: list[Scores] = field(default_factory=list)
    faulty: dict[tuple[str, int], list[Scores]] = field(default_factory=dict)


def fit_capture(
    data: Path, out: Path, *, num_scenes: int, num_photographs: int, bars: Bars = no_bars
) -> dict[str, Any]:
    """Fit the limits, write the files described above, and return what `sections.json` holds.

    Args:
        data: data set with masks; its training images are looked at, those for validation are not.
        out: folder to write to, created if missing.
        num_scenes: generated pictures at the resolution of a camera.
        num_photographs: training photographs, of all evenly.
        bars: begins a bar for each kind of picture.

    Raises:
        InputError: there are too few clean photographs or scenes.
        UsageError: ``out`` cannot be written to, or another process works in it.
    """
    train_set = read_split(data, "train")
    chosen = [one for one in train_set.samples if one.mask is not None]
    places = np.linspace(0, len(chosen) - 1, min(len(chosen), num_photographs)).round()
    chosen = [chosen[int(place)] for place in places] if chosen else []
    _expect(f"{data}: photographs with masks", len(chosen))
    _expect("generated scenes", num_scenes)
    make_folder(out)
    with alone_in(out):
        photographs = (
            (read_rgb(one.image), read_mask(one.mask), one.id)
            for one in chosen
            if one.mask is not None
        )
        scenes = ((*scene(number), f"scene {number}") for number in range(num_scenes))
        kinds = {}
        for kind, pictures, total in (
            ("photographs", photographs, len(chosen)), ("scenes", scenes, num_scenes)
        ):  # fmt: skip
            halves = _measured(pictures, total, bars(kind))
            fewest = min(len(half.clean) for half in halves)
            _expect(f"{kind} whose lesion lies well", 2 * fewest)
            kinds[kind] = halves
        limits = fit_limits([fitting for fitting, _ in kinds.values()])
        checking = {name: check for name, (_, check) in kinds.items()}
        made = (
            f"Fitted with ckd {ckd_version()} on every second of {len(chosen)} training "
            f"photographs of {train_set.name} and of {num_scenes} generated scenes of 1080 px; "
            "counted on the others."
        )
        # Only now are those of before removed: what cannot be made again loses nothing.
        for name in (FITTED_SECTIONS, f"{SECTION}.md", f"{SECTION}.png"):
            (out / name).unlink(missing_ok=True)
        replace_file(out / f"{SECTION}.md", f"{made}\n\n{_report(limits, checking)}\n".encode())
        plots.save(_figure(limits, checking), out / f"{SECTION}.png")
        return write_fitted(out, {SECTION: limits}, {})


def _expect(what: str, count: int) -> None:
    if count < 2 * _LEAST_CLEAN:
        raise InputError(f"{what}: {count}, expected {2 * _LEAST_CLEAN} at least; give more")


def fit_limits(measured: Sequence[Measured]) -> dict[str, float]:
    """The limits by name of the score, for all kinds of pictures together.

    Of several kinds the laxer limit is taken, so that none loses more than its share.
    """
    limits = {}
    for name, check in CHECKS.items():
        if name in SET_LIMITS:
            limits[name] = SET_LIMITS[name]
            continue
        laxer = min if check.is_least else max
        clean = [[scores[name] for scores in one.clean] for one in measured]
        strong = [
            [scores[name] for scores in one.faulty[check.hint, GRADES[-1]]] for one in measured
        ]
        for share in _FALSE_REJECTS:
            limit = laxer(limit_at(check, scores, share) for scores in clean)
            caught = [np.mean([check.fails(one, limit) for one in scores]) for scores in strong]
            if min(caught) >= _ENOUGH:
                break
        limits[name] = round(float(limit), 4)
    return limits


def _measured(
    pictures: Iterable[Picture], total: int, progress: Callable[[int, int], None]
) -> tuple[Measured, Measured]:
    """Scores of every second picture, and of the others."""
    halves = Measured(), Measured()
    for done, (image_HWC, mask_HW, name) in enumerate(pictures, start=1):
        half = halves[done % 2]
        clean = _scores(image_HWC, mask_HW)
        if _is_clean(clean):
            half.clean.append(clean)
            for hint, grade, picture in _faults(image_HWC, mask_HW, name):
                half.faulty.setdefault((hint, grade), []).append(_scores(*picture))
        progress(done, total)
    return halves


def _is_clean(scores: Scores) -> bool:
    """Whether there is a lesion, and it lies well."""
    return "width" in scores and not any(
        CHECKS[name].fails(scores[name], limit) for name, limit in SET_LIMITS.items()
    )


def _faults(
    image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_], name: str
) -> Iterator[tuple[str, int, tuple[NDArray[np.uint8], NDArray[np.bool_]]]]:
    for hint in FAULTS:
        for grade in GRADES:
            yield hint, grade, faulty(image_HWC, mask_HW, hint, grade, name)


def _scores(image_HWC: NDArray[np.uint8], mask_HW: NDArray[np.bool_]) -> Scores:
    return capture_scores(image_HWC, network_image(image_HWC, _SEEN_PX), mask_HW)


def _report(limits: Mapping[str, float], measured: Mapping[str, Measured]) -> str:
    head = ["hint", "score", "limit", "AUC, clean against grade 3"]
    for kind in measured:
        head += [f"clean {kind} that pass", *(f"{kind}, grade {grade}" for grade in GRADES)]
    rows = []
    for name, check in CHECKS.items():
        sign = "at least" if check.is_least else "at most"
        row = [f"`{check.hint}`", check.meaning, f"{sign} {limits[name]:.3g}"]
        row.append(", ".join(f"{_auc(name, one):.3f}" for one in measured.values()))
        for one in measured.values():
            fails = [check.hint in hints_of(clean, limits) for clean in one.clean]
            row.append(f"{1 - np.mean(fails):.1%}")
            for grade in GRADES:
                group = one.faulty[check.hint, grade]
                hints = [hints_of(bad, limits) for bad in group]
                named = np.mean([check.hint in one for one in hints])
                row.append(f"{named:.0%} ({np.mean([*map(bool, hints)]):.0%})")
        rows.append(row)
    passed = []
    for kind, one in measured.items():
        count = sum(not hints_of(clean, limits) for clean in one.clean)
        low, high = share_interval(count, len(one.clean))
        passed.append(
            f"{count} of {len(one.clean)} clean {kind} pass all checks "
            f"({count / len(one.clean):.1%}, 95 % interval {low:.1%} to {high:.1%})"
        )
    means = [(f"`{hint}`", meaning) for hint, meaning in MEANINGS.items()]
    return "\n\n".join(
        (
            f"{'; '.join(passed)}. Lesions are outlined by truth here, and not by the networks; "
            "photographs whose lesion is cut off, small or off centre are not called clean. "
            "Photographs of 256 px show no blur that is finer than their pixels.",
            "Caught as what they are (at all), by grade of the fault:",
            "\n".join(markdown_table(head, rows)),
            "\n".join(markdown_table(("hint", "grades 1, 2, 3"), means)),
            f"![Scores of clean pictures and of each grade, with the limit]({SECTION}.png)",
        )
    )


def _auc(name: str, measured: Measured) -> float:
    """How well a score tells strong faults from clean pictures."""
    check = CHECKS[name]
    groups = (measured.clean, measured.faulty[check.hint, GRADES[-1]])
    clean, bad = ([scores[name] for scores in group if name in scores] for group in groups)
    sign = -1 if check.is_least else 1
    is_bad = np.array([False] * len(clean) + [True] * len(bad))
    return roc_auc(sign * np.array([*clean, *bad]), is_bad)


def _figure(limits: Mapping[str, float], measured: Mapping[str, Measured]) -> Figure:
    """A panel for each check: clean pictures and the grades, side by side."""
    figure = Figure(figsize=(10, 8), layout="constrained")
    for axes, (name, check) in zip(figure.subplots(3, 3).flat, CHECKS.items(), strict=True):
        for shift, colour, (kind, one) in zip(
            (-0.18, 0.18), plots.COLOURS, measured.items(), strict=False
        ):
            groups = [one.clean, *(one.faulty[check.hint, grade] for grade in GRADES)]
            values = [[scores[name] for scores in group if name in scores] for group in groups]
            places = np.arange(len(groups)) + shift
            boxes = axes.boxplot(
                values, positions=places, widths=0.3, whis=(5, 95), showfliers=False,
                patch_artist=True, manage_ticks=False,
            )  # fmt: skip
            for box in boxes["boxes"]:
                box.set(facecolor=colour, alpha=0.6)
            axes.plot([], [], color=colour, label=kind)
        axes.axhline(limits[name], color=plots.GREY, linewidth=1)
        axes.set_xticks(range(4), ["clean", *(f"grade {grade}" for grade in GRADES)], fontsize=8)
        axes.set_title(f"{check.hint}: {name}", fontsize=9)
    axes.legend(fontsize=8)
    return figure

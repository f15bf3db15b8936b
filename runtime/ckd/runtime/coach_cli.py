"""`ckd-run unit coach`: limits of the capture coach by a maker's own captures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ckd import console
from ckd.console.options import BackendName, BundlePath, finite
from ckd.contract.errors import InputError, UsageError
from ckd.runtime import unit_cli

if TYPE_CHECKING:
    from ckd.finding.capture import Capture
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.unit import Unit

#: Of fewer good captures nobody can say which are rare.
_LEAST_GOOD: Final = 20


def coach_command(
    good: Annotated[Path, typer.Argument(help="Folder of captures that are good.")],
    bad: Annotated[
        Path,
        typer.Argument(
            help="Folder of captures that are not; in folders named as hints, such as "
            "BAD/out_of_focus, each hint is counted by itself."
        ),
    ],
    unit: Annotated[
        Path | None,
        typer.Option("--unit", metavar="FILE", help="Unit of the camera; the limits go into it."),
    ] = None,
    false_rejects: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=0.2,
            callback=finite,
            help="Of the good captures so many may fail each check.",
        ),
    ] = 0.02,
    bundle: BundlePath = None,
    backend: BackendName = "auto",
) -> None:
    """Fit when a capture of this camera is good enough, to captures of your own.

    Prints the lines of the unit file, or writes them into it.
    """
    import numpy as np

    from ckd.capture import CHECKS, CaptureJudge, limit_at
    from ckd.finding.capture import HINTS
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.sources.images import images_below
    from ckd.runtime.unit import put_coach, written_limit

    camera_unit = unit_cli.unit_of(unit)
    if _overlap(good, bad):
        raise UsageError(f"{bad}: {good} lies in it, or the other way round; name two folders")
    good_files, bad_files = (images_below(folder, say=console.say) for folder in (good, bad))
    if len(good_files) < _LEAST_GOOD:
        raise InputError(f"{good}: {len(good_files)} captures, expected {_LEAST_GOOD} at least")
    with Cascade.load(bundle, backend, "cpu") as cascade:
        if cascade.judge is None:
            raise UsageError(f"{cascade.bundle_id} does not judge captures; name another --bundle")
        before = cascade.judge.limits
        if camera_unit is not None:  # its scale counts from now on, as the limits will be its own
            before = cascade.judge.for_unit(camera_unit.coach, None).limits
            cascade.judge = CaptureJudge(before, camera_unit.mm_per_px)
        clean = [*_captures(cascade, good_files, camera_unit, "good").values()]
        faulty = _captures(cascade, bad_files, camera_unit, "bad")
    if (judged := sum(bool(one.scores) for one in clean)) < _LEAST_GOOD:
        raise InputError(
            f"{good}: {len(clean) - judged} of {len(clean)} captures have nothing to judge, "
            f"expected {_LEAST_GOOD} at least that show a lesion"
        )
    fitted = {}
    for name, check in CHECKS.items():
        known = [one.scores[name] for one in clean if name in one.scores]
        # A score that good captures do not have, as glare, would make any trace of it a fault.
        if (
            check.set_at is None
            and len(known) >= _LEAST_GOOD
            and np.count_nonzero(known) > len(known) / 2
        ):
            fitted[name] = written_limit(limit_at(check, known, false_rejects))
    limits = {**before, **fitted}
    rows = []
    for name, check in CHECKS.items():
        failed = sum(check.hint in _hints(one, limits) for one in clean)
        named = [one for path, one in faulty.items() if path.parent.name == check.hint]
        caught = sum(check.hint in _hints(one, limits) for one in named)
        rows.append(
            (
                check.hint, name, f"{before[name]:.3g}", f"{limits[name]:.3g}",
                f"{failed} of {len(clean)}", f"{caught} of {len(named)}" if named else "",
            )
        )  # fmt: skip
    head = ("hint", "score", "limit before", "limit", "good that fail", "named so, caught")
    console.print_table(head, rows)
    passed = sum(not _hints(one, limits) for one in clean)
    caught = sum(bool(_hints(one, limits)) for one in faulty.values())
    console.say(
        f"{passed} of {len(clean)} good captures pass all checks, {caught} of {len(faulty)} bad "
        "ones are caught, counted on the captures that the limits were fitted to"
    )
    named_so = {path.parent.name for path in faulty}
    if not named_so & set(HINTS):
        console.say(f"note: folders in {bad} named as hints ({HINTS[2]}, ...) tell more")
    elif others := sorted(named_so - {*HINTS, bad.name}):
        console.say(f"note: no hint is named {', '.join(others)}; known: {', '.join(HINTS)}")
    if unit is None:
        console.show(
            "\n".join(("[coach]", *(f"{name} = {limit!r}" for name, limit in fitted.items()))),
            keep="\n",
        )
    else:
        put_coach(unit, fitted)
        console.say(f"written into {unit}")


def _overlap(one: Path, other: Path) -> bool:
    """Whether one folder is the other, or lies in it."""
    first, second = one.resolve(), other.resolve()
    return first.is_relative_to(second) or second.is_relative_to(first)


def _captures(
    cascade: "Cascade", files: Sequence[Path], unit: "Unit | None", what: str
) -> dict[Path, "Capture"]:
    """Captures by file, as the bundle judges them."""
    from ckd.picture.companions import is_of_unit
    from ckd.picture.decode import read_rgb

    found, progress = {}, console.progress_bar(what)
    for done, path in enumerate(files, start=1):
        image_HWC = read_rgb(path)
        if unit is not None and not is_of_unit(path):  # which is as the unit says already
            image_HWC = unit.picture(image_HWC, str(path))
        capture = cascade.predict(image_HWC).capture
        assert capture is not None
        found[path] = capture
        progress(done, len(files))
    return found


def _hints(capture: "Capture", limits: Mapping[str, float]) -> set[str]:
    """Hints by other limits; a picture with nothing to judge has no scores, and keeps its own."""
    from ckd.capture import hints_of

    return hints_of(capture.scores, limits) if capture.scores else set(capture.hints)

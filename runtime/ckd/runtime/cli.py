"""`ckd-run`: analyse images, videos and cameras; show facts about bundles and this machine.

Findings go to stdout, all other lines to stderr.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ckd import console
from ckd.console.options import (
    BackendName,
    BundlePath,
    DeviceName,
    Json,
    MinFree,
    NoNames,
    OperatingPointName,
    PrecisionName,
    Prevalence,
    Threads,
    bytes_of,
    prevalence_of,
)
from ckd.contract.errors import InputError
from ckd.finding.sentences import NOTICE
from ckd.runtime import journal_cli, unit_cli
from ckd.runtime.camera_cli import camera_command, say_choices
from ckd.runtime.coach_cli import coach_command

if TYPE_CHECKING:
    from ckd.finding.finding import Finding
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.sinks import Failure
    from ckd.runtime.sources import InputNames

_WhichBundle = Annotated[
    Path | None, typer.Argument(envvar="CKD_BUNDLE", help="Default: the embedded bundle.")
]

cli = console.app(f"Run a lesion-analysis cascade on images, videos and cameras.\n\n{NOTICE}")


@cli.command("image")
def image_command(
    paths: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    bundle: BundlePath = None,
    backend: BackendName = "auto",
    device: DeviceName = "auto",
    precision: PrecisionName = "auto",
    threads: Threads = None,
    operating_point: OperatingPointName = None,
    prevalence: Prevalence = None,
    unit: unit_cli.UnitFile = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/image"),
    no_names: NoNames = False,
    as_json: Json = False,
) -> None:
    """Analyse images: writes mask, overlay and JSON for each, and one predictions.csv.

    If the bundle was exported with --explain, also what speaks for the most probable label.
    """
    from ckd.finding.finder import NotFinite
    from ckd.picture.decode import read_picture
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.sinks import ResultFolder, print_finding
    from ckd.runtime.sources import InputNames, image_files

    names = InputNames(paths, are_hidden=no_names)
    console.hide_names(names.hidden)
    shares, camera_unit = prevalence_of(prevalence), unit_cli.unit_of(unit)
    about = None if camera_unit is None else {"unit": camera_unit.about}
    files = names.files = list(image_files(paths, out, console.say))
    failed = 0
    with (
        Cascade.load(
            bundle, backend, device, precision, threads, operating_point, shares
        ) as cascade,
        ResultFolder(out, cascade.spec.labels, _settings(cascade, names)) as folder,
    ):
        say_choices(cascade)
        unit_cli.set_coach(cascade, camera_unit)
        for number, path in _with_bar(files, "images"):
            name = names.shown(number)
            try:
                image_HWC, notes = read_picture(path)
                if camera_unit is not None:
                    image_HWC = camera_unit.picture(image_HWC, str(path))
                finding = cascade.predict(image_HWC)
                written = folder.add(name, finding, image_HWC, about)
            except (InputError, NotFinite) as error:
                named = NotFinite(f"{path}: {error}") if isinstance(error, NotFinite) else error
                folder.add_failure(name, _failure(error))
                if len(files) == 1:
                    raise named from error.__cause__
                failed += 1
                console.say(f"error: {named}")
                continue
            for note in notes:
                console.say(f"note: {path}: {note}")
            print_finding(name, finding, as_json=as_json, files=written, about=about)
    console.say(f"results in {out}. {NOTICE}")
    if failed:
        raise InputError(f"{failed} of {len(files)} images could not be analysed, see above")


@cli.command("video")
def video_command(
    path: Annotated[Path, typer.Argument(help="Video file, or a folder of images, 25 a second.")],
    bundle: BundlePath = None,
    backend: BackendName = "auto",
    device: DeviceName = "auto",
    precision: PrecisionName = "auto",
    threads: Threads = None,
    operating_point: OperatingPointName = None,
    prevalence: Prevalence = None,
    unit: unit_cli.UnitFile = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("runs/video"),
    video_format: Annotated[
        Literal["mkv", "mp4"], typer.Option(help="Of the overlay video; mp4 needs ffmpeg.")
    ] = "mkv",
    min_free: MinFree = "500MB",
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    journal: journal_cli.JournalFolder = None,
    journal_size: journal_cli.JournalSize = journal_cli.DEFAULT_SIZE,
    journal_tensors: journal_cli.JournalTensors = False,
    no_names: NoNames = False,
    as_json: Json = False,
) -> None:
    """Analyse every frame of a video: writes an overlay video and predictions.csv.

    If the bundle was exported with --explain, also a video of what speaks for the most probable
    label. If it is interrupted, or the video is damaged, the frames up to there stay in
    <name>_overlay.part.mkv.
    """
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.sinks import ResultFolder, print_finding
    from ckd.runtime.sources import Frame, InputNames, faults_shown
    from ckd.runtime.video import analyse_video

    names = InputNames([path], are_hidden=no_names)
    console.hide_names(names.hidden)
    shares, min_free_bytes = prevalence_of(prevalence), bytes_of("--min-free", min_free)
    black_box = journal_cli.JournalChoice(journal, journal_size, journal_tensors, min_free_bytes)
    camera_unit = unit_cli.unit_of(unit)
    with (
        unit_cli.video_of(path, camera_unit) as source,
        Cascade.load(
            bundle, backend, device, precision, threads, operating_point, shares
        ) as cascade,
        ResultFolder(out, cascade.spec.labels, _settings(cascade, names)) as folder,
        black_box.open(cascade, source, bundle, operating_point, shares, waits=True) as kept,
    ):
        say_choices(cascade)
        unit_cli.set_coach(cascade, camera_unit)
        total = min(n for n in (source.num_frames, max_frames, sys.maxsize) if n)
        progress, name = console.progress_bar("frames"), names.shown(1)

        def on_finding(frame: Frame, finding: "Finding") -> None:
            if as_json:
                print_finding(f"{name}#{frame.index}", finding, as_json=True, about=frame.about)
            progress(frame.index + 1, total)

        report = analyse_video(
            source, cascade, folder, max_frames=max_frames, on_finding=on_finding, say=console.say,
            video_format=video_format, min_free_bytes=min_free_bytes, journal=kept,
            stem=name if no_names else path.stem,
        )  # fmt: skip
    if source.faults:
        console.say(f"note: {path}: {faults_shown(source.faults)} frames were passed over")
    console.say(f"{report.summary}. {NOTICE}")
    for recording in report.recordings:
        recording.check()


cli.command("camera")(camera_command)
cli.command("replay")(journal_cli.replay_command)
unit_cli.cli.command("coach")(coach_command)
cli.add_typer(unit_cli.cli, name="unit")


@cli.command("info")
def info_command(
    bundle: _WhichBundle = None,
    prevalence: Prevalence = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print cascade.json itself, with what a bundle promises."),
    ] = False,
) -> None:
    """Show what a bundle holds and promises: networks, labels, operating points, doubts."""
    from ckd.runtime.info import print_info

    print_info(bundle, prevalence_of(prevalence), as_json=as_json)


@cli.command("doctor")
def doctor_command(
    bundle: _WhichBundle = None,
    backend: BackendName = "auto",
    device: DeviceName = "auto",
    precision: PrecisionName = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check this machine: backends, cameras' needs, and a bundle's acceptance cases."""
    from ckd.runtime.doctor import examine

    checks = examine(bundle, backend, device, precision, threads)
    if as_json:
        print(json.dumps([asdict(check) for check in checks]))
    else:
        rows = ((check.status, check.what, check.detail) for check in checks)
        console.print_table(("", "", ""), rows)
    if problems := [check for check in checks if check.status == "problem"]:
        console.say("error: this machine cannot run the cascade yet, see above")
        raise SystemExit(problems[-1].exit_code)


def main() -> None:
    """Entry point of `ckd-run`."""
    # Nothing here multiplies matrices with NumPy, which is imported later; the threads of its BLAS
    # would keep the cores busy while the networks are loaded.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    console.run(cli)


def _settings(cascade: "Cascade", names: "InputNames") -> dict[str, object]:
    decider, prevalence = cascade.decider, cascade.decider.prevalence
    return {
        "command": names.command(sys.argv[1:]),
        "bundle": cascade.bundle_id,
        "backend": cascade.backend.name,
        "precision": cascade.precision,
        "operating_point": None if decider.point is None else decider.point.name,
        "prevalence": prevalence and {name: round(at, 6) for name, at in prevalence.items()},
    }


def _failure(error: Exception) -> "Failure":
    """What `findings.csv` says of a photograph that could not be analysed, or not be written."""
    from ckd.finding.finder import NotFinite
    from ckd.runtime.sinks import NotWritten

    if isinstance(error, NotWritten):
        return "not_written"
    return "not_finite" if isinstance(error, NotFinite) else "unreadable"


def _with_bar(files: list[Path], unit: str) -> Iterator[tuple[int, Path]]:
    progress = console.progress_bar(unit)
    for number, path in enumerate(files, start=1):
        yield number, path
        progress(number, len(files))


if __name__ == "__main__":
    main()

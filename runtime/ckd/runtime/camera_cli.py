"""`ckd-run camera`: a live source, analysed, shown, and kept."""

import json
import os
import sys
import time
from dataclasses import asdict
from datetime import datetime, timedelta, timezone
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
    finite,
    prevalence_of,
)
from ckd.contract.errors import UsageError
from ckd.finding.sentences import NOTICE
from ckd.runtime import journal_cli, unit_cli

if TYPE_CHECKING:
    from ckd.finding.finding import Finding
    from ckd.runtime.cascade import Cascade


@console.ends_when_stopped
def camera_command(
    source: Annotated[
        str | None,
        typer.Argument(
            envvar="CKD_SOURCE",
            show_envvar=True,
            help="Index, /dev/videoN, usb:VID:PID:SERIAL, csi://N, gst://PIPELINE, rtsp:// or "
            "http:// stream, or a file; default: that of the unit file, or 0. An address with a "
            "password belongs into CKD_SOURCE or the unit file: others see the command line.",
        ),
    ] = None,
    unit: unit_cli.UnitFile = None,
    view: Annotated[
        Literal["web", "window", "none"], typer.Option(help="Where to look at the result.")
    ] = "web",
    host: Annotated[str, typer.Option(help="Address the web view listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    record: Annotated[
        Path | None,
        typer.Option(help="Write the overlays to this video: .mkv, or with ffmpeg .mp4."),
    ] = None,
    min_free: MinFree = "500MB",
    bundle: BundlePath = None,
    backend: BackendName = "auto",
    device: DeviceName = "auto",
    precision: PrecisionName = "auto",
    threads: Threads = None,
    operating_point: OperatingPointName = None,
    prevalence: Prevalence = None,
    width: Annotated[int | None, typer.Option(min=16, help="Ask the camera for it.")] = None,
    height: Annotated[int | None, typer.Option(min=16, help="Ask the camera for it.")] = None,
    fps: Annotated[
        float | None, typer.Option(min=1, callback=finite, help="Ask the camera for it.")
    ] = None,
    deadline_ms: Annotated[
        float | None,
        typer.Option(
            "--deadline-ms",
            min=1,
            callback=finite,
            help="Leave out the fine outline, and then the diagnosis, where a frame's answer would "
            "take longer; what was left out, or is late all the same, is said.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for saved frames.")] = Path("runs/camera"),
    auto_capture: Annotated[
        bool,
        typer.Option(
            "--auto-capture",
            help="Save the sharpest frame, to --out, whenever the picture has been good for a "
            "second; the bundle must judge captures.",
        ),
    ] = False,
    max_frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    duration_s: Annotated[
        float | None,
        typer.Option("--duration", min=0.1, callback=finite, help="Stop after so many seconds."),
    ] = None,
    journal: journal_cli.JournalFolder = None,
    journal_size: journal_cli.JournalSize = journal_cli.DEFAULT_SIZE,
    journal_tensors: journal_cli.JournalTensors = False,
    no_names: NoNames = False,
    as_json: Json = False,
    lists: Annotated[
        bool, typer.Option("--list", help="Show which cameras are connected, and end.")
    ] = False,
) -> None:
    """Analyse a camera live: the newest frame always, older ones are dropped and counted."""
    if lists:
        _print_cameras(as_json=as_json)
        return
    from contextlib import nullcontext
    from functools import partial

    from ckd.finding.overlay import draw_overlay
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.live import VIEW_TOKEN, AutoCapture, open_views, run_live, save_snapshot
    from ckd.runtime.settling import Settler
    from ckd.runtime.sinks import Recorder, print_finding
    from ckd.runtime.sources import CameraFormat, Frame, without_password

    shares, min_free_bytes = prevalence_of(prevalence), bytes_of("--min-free", min_free)
    if (width is None) != (height is None):
        raise UsageError("--width and --height: give both or neither")
    is_asked = (width, height, fps) != (None, None, None)
    camera = CameraFormat(width_px=width, height_px=height, fps=fps) if is_asked else None
    if auto_capture:
        console.make_folder(out)
    _hide(source, are_hidden=no_names)  # already in what refuses it
    chosen = unit_cli.CameraChoice.of(unit, source, camera)
    _hide(chosen.source, are_hidden=no_names)
    if source is not None and source in sys.argv and without_password(source) != source:
        console.say(
            "note: others on this machine can read a password on the command line; put the address "
            "into the environment, CKD_SOURCE, or into the unit file"
        )
    save = partial(save_snapshot, out)
    recording = partial(Recorder, min_free_bytes=min_free_bytes, leaves_out=True, say=console.say)
    black_box = journal_cli.JournalChoice(journal, journal_size, journal_tensors, min_free_bytes)

    def on_finding(frame: Frame, finding: "Finding") -> None:
        if as_json:  # the source as typed may hold a password, its name does not
            about = {"captured": utc_of(frame.captured_s), **frame.about}
            name = frames.label if no_names else frames.name
            print_finding(f"{name}#{frame.index}", finding, as_json=True, about=about)

    with (
        chosen.open() as frames,
        nullcontext() if record is None else recording(record) as recorder,
        open_views(
            view,
            host=host,
            port=port,
            source_name="" if view == "none" else frames.label,  # a file is hashed for it
            save=save,
            say=console.say,
            pressed=black_box.key,
            token=os.environ.get(VIEW_TOKEN) or None,
        ) as views,
        Cascade.load(
            bundle, backend, device, precision, threads, operating_point, shares
        ) as cascade,
        black_box.open(cascade, frames, bundle, operating_point, shares) as kept,
        chosen.button_views(save, black_box.key) as button_views,
        AutoCapture(save, console.say) if auto_capture else nullcontext() as capturing,
    ):
        say_choices(cascade)
        unit_cli.set_coach(cascade, chosen.unit)
        if auto_capture and cascade.judge is None:
            raise UsageError(f"--auto-capture: {cascade.bundle_id} does not judge captures")
        cascade.warmup()
        report = run_live(
            frames, partial(cascade.begin, deadline_ms=deadline_ms), draw_overlay,
            views=[*views, *button_views, *filter(None, (capturing,))], recorder=recorder,
            journal=kept,
            settler=Settler(cascade.decider), on_finding=on_finding, max_frames=max_frames,
            duration_s=duration_s,
        )  # fmt: skip
    if recorder is not None:
        console.say(recorder.state.summary)
    console.say(f"{report.summary}. {NOTICE}")
    if recorder is not None:
        recorder.state.check()
    if capturing is not None:
        capturing.check()


def _hide(source: str | None, *, are_hidden: bool) -> None:
    """From now on lines for people have no name of a recording that is played, if it is one."""
    from ckd.runtime.sources import InputNames, recording_of

    path = None if source is None else recording_of(source)
    console.hide_names(InputNames([] if path is None else [path], are_hidden=are_hidden).hidden)


def utc_of(moment_s: float) -> str:
    """Date and time in UTC, to the millisecond, of a moment of the monotonic clock."""
    moment = datetime.now(timezone.utc) - timedelta(seconds=time.monotonic() - moment_s)
    return moment.isoformat(timespec="milliseconds")


def say_choices(cascade: "Cascade") -> None:
    """Say what was chosen other than the bundle's defaults."""
    for sentence in cascade.decider.chosen_shown:
        console.say(f"note: {sentence}")


def _print_cameras(*, as_json: bool) -> None:
    from ckd.runtime.sources.cameras import connected_cameras

    cameras = connected_cameras()
    if as_json:
        print(json.dumps([asdict(camera) for camera in cameras]))
    elif cameras:
        rows = (
            (
                shown.source, shown.name, shown.usb.source if shown.usb else "",
                shown.lasting or "", shown.problem,
            )
            for shown in cameras
        )  # fmt: skip
        head = ("camera", "name", "USB name that stays", "link that stays", "problem")
        console.print_table(head, rows)
    else:
        console.say("no camera is connected that Video for Linux knows; plug one in")

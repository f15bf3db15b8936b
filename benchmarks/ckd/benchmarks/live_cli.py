"""`ckd-bench settling` and `capture`: what pooling and coaching are worth."""

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ckd import console
from ckd.benchmarks.machine import public_command


def settling_command(
    data: Annotated[Path, typer.Option(help="Data set with masks and labels.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder or zip; default: the embedded one.")
    ] = None,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "val",
    frames: Annotated[int, typer.Option(min=15, help="Of each photograph, 30 a second.")] = 60,
    every: Annotated[int, typer.Option(min=1, help="Take each so-manieth photograph.")] = 1,
    pairs: Annotated[int, typer.Option(min=0, help="Pans from one photograph to another.")] = 30,
    backend: Annotated[str, typer.Option(help="onnxruntime, openvino or auto.")] = "onnxruntime",
    out: Annotated[
        Path | None, typer.Option(help="Write settling.json, settling.md and settling.png here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Pans over photographs: the answer that settles against that of single frames."""
    from ckd.benchmarks.machine import activity, conditions, machine
    from ckd.benchmarks.settling import measure_settling
    from ckd.benchmarks.settling_report import to_markdown, write_settling
    from ckd.data.layouts import read_unseen
    from ckd.runtime.cascade import Cascade

    if out is not None:
        console.make_folder(out)
    before = activity()
    with Cascade.load(bundle, backend, "cpu") as cascade:
        samples = read_unseen(data, split, [cascade.spec], console.say)
        figures, pans = measure_settling(
            cascade, samples, num_frames=frames, every=every, num_pairs=pairs,
            progress=console.progress_bar("pans"),
        )  # fmt: skip
    during = conditions(before, activity(), public_command("ckd-bench", sys.argv[1:]))
    if out is not None:
        written = write_settling(figures, pans, machine(), during, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    text = json.dumps(figures.as_dict()) + "\n"
    print(text if as_json else to_markdown(figures, machine(), during), end="")


def capture_command(
    data: Annotated[Path, typer.Option(help="Data set with masks and labels.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder or zip; default: the embedded one.")
    ] = None,
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "val",
    scenes: Annotated[int, typer.Option(min=1, help="Generated pictures of 1080 px.")] = 30,
    every: Annotated[int, typer.Option(min=1, help="Take each so-manieth photograph.")] = 1,
    backend: Annotated[str, typer.Option(help="onnxruntime, openvino or auto.")] = "onnxruntime",
    out: Annotated[
        Path | None, typer.Option(help="Write capture.json and capture.md here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Clean and faulty captures: which pass, which are caught, and what that is good for."""
    from ckd.benchmarks.capture import measure_capture
    from ckd.benchmarks.capture_report import to_markdown, write_capture
    from ckd.benchmarks.machine import activity, conditions, machine
    from ckd.data.layouts import read_unseen
    from ckd.runtime.cascade import Cascade

    if out is not None:
        console.make_folder(out)
    before = activity()
    with Cascade.load(bundle, backend, "cpu") as cascade:
        samples = read_unseen(data, split, [cascade.spec], console.say)
        report = measure_capture(
            cascade, samples, num_scenes=scenes, every=every, bars=console.progress_bar
        )
    during = conditions(before, activity(), public_command("ckd-bench", sys.argv[1:]))
    if out is not None:
        written = write_capture(report, machine(), during, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    text = json.dumps(report.as_dict()) + "\n"
    print(text if as_json else to_markdown(report, machine(), during), end="")

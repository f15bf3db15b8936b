"""`ckd-bench settling` and `capture`: what pooling and coaching are worth."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ckd import console
from ckd.benchmarks.machine import public_command
from ckd.benchmarks.markdown import rounded

if TYPE_CHECKING:
    from ckd.benchmarks.machine import Conditions, Machine
    from ckd.data.samples import SampleSet
    from ckd.runtime.cascade import Cascade


Data = Annotated[Path, typer.Option(help="Data set with masks and labels.")]
BundlePath = Annotated[
    Path | None, typer.Option(help="Bundle folder or zip; default: the embedded one.")
]
Split = Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")]
Every = Annotated[int, typer.Option(min=1, help="Take every n-th photograph.")]
Backend = Annotated[str, typer.Option(help="onnxruntime, openvino or auto.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def settling_command(
    data: Data,
    bundle: BundlePath = None,
    split: Split = "val",
    frames: Annotated[int, typer.Option(min=15, help="Of each photograph, 30 a second.")] = 60,
    every: Every = 1,
    pairs: Annotated[int, typer.Option(min=0, help="Pans from one photograph to another.")] = 30,
    backend: Backend = "onnxruntime",
    out: Annotated[
        Path | None, typer.Option(help="Write settling.json, settling.md and settling.png here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pans over photographs: the answer that settles against that of single frames."""
    from ckd.benchmarks.settling import measure_settling
    from ckd.benchmarks.settling_report import to_markdown, write_settling

    with _measured(data, bundle, split, backend, out) as run:
        figures, pans = measure_settling(
            run.cascade, run.samples, num_frames=frames, every=every, num_pairs=pairs,
            progress=console.progress_bar("pans"),
        )  # fmt: skip
    if out is not None:
        written = write_settling(figures, pans, run.machine, run.during, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    text = json.dumps(rounded(figures.as_dict())) + "\n"
    console.show(
        text if as_json else to_markdown(figures, run.machine, run.during), end="", keep="\n"
    )


def capture_command(
    data: Data,
    bundle: BundlePath = None,
    split: Split = "val",
    scenes: Annotated[int, typer.Option(min=1, help="Generated pictures of 1080 px.")] = 30,
    every: Every = 1,
    backend: Backend = "onnxruntime",
    out: Annotated[
        Path | None, typer.Option(help="Write capture.json and capture.md here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Clean and faulty captures: which pass, which are caught, and what that is good for."""
    from ckd.benchmarks.capture import measure_capture
    from ckd.benchmarks.capture_report import to_markdown, write_capture

    with _measured(data, bundle, split, backend, out) as run:
        report = measure_capture(
            run.cascade, run.samples, num_scenes=scenes, every=every, bars=console.progress_bar
        )
    if out is not None:
        written = write_capture(report, run.machine, run.during, out)
        console.say(f"wrote {', '.join(written)} to {out}")
    text = json.dumps(rounded(report.as_dict())) + "\n"
    console.show(
        text if as_json else to_markdown(report, run.machine, run.during), end="", keep="\n"
    )


@dataclass(slots=True)
class _Run:
    """What is measured; the load of the machine meanwhile is known at the end."""

    cascade: "Cascade"
    samples: "SampleSet"
    machine: "Machine"
    during: "Conditions" = field(init=False)


@contextmanager
def _measured(
    data: Path,
    bundle: Path | None,
    split: Literal["train", "val", "test"],
    backend: str,
    out: Path | None,
) -> Iterator[_Run]:
    """A loaded bundle and photographs that it has not seen, within a ``with`` block."""
    from ckd.benchmarks.machine import activity, conditions, machine
    from ckd.data.layouts import read_unseen
    from ckd.runtime.cascade import Cascade

    if out is not None:
        console.make_folder(out)
    before = activity()
    with Cascade.load(bundle, backend, "cpu") as cascade:
        samples = read_unseen(data, split, [cascade.spec], console.say)
        run = _Run(cascade, samples, machine())
        yield run
    run.during = conditions(before, activity(), public_command("ckd-bench", sys.argv[1:]))

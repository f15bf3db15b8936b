"""What the classifier's features cost: a bundle with and without them, in turn, in one run.

    python benchmarks/features_cost.py BUNDLE [--runs 200] [--threads 2] [--out FILE.md]

The second bundle is a copy whose classifier has no output "features", in no precision, and whose
section "refer" does not judge by them; all else is the same. Both answer one 1920x1080 frame, from
the frame to the finding, on every installed CPU backend in every precision. A ratio above 1 is what
the output, reading it and the distance from the training photographs cost together.
"""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import cv2
import onnx
import typer

from ckd import console
from ckd.benchmarks.contenders import CascadeContender, cpu_cascades, frame
from ckd.benchmarks.machine import activity, conditions, machine, public_command
from ckd.benchmarks.markdown import machine_rows, table
from ckd.benchmarks.measure import MOST_RUNS, interleaved, latency_from_samples, paired_ratio
from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import InputError
from ckd.contract.hashes import write_hashes
from ckd.contract.spec import CascadeSpec, NodeSpec, Section
from ckd.contract.whole_file import replace_file
from ckd.finding.doubts import SECTION, Doubts

WARMUP = 20


def without_features(bundle: Bundle, folder: Path) -> Bundle:
    """A copy of a bundle in a new folder, without the output; acceptance cases stay as they are.

    Raises:
        InputError: the bundle has no features.
    """
    spec, name = bundle.spec, bundle.spec.outputs.features
    if name is None:
        raise InputError(f"{bundle.path}: gives no features; expected a bundle that does")
    bundle.copy_to(folder)
    for node in spec.nodes:
        if name in node.outputs:
            for file in set(node.files.values()):
                _drop_output(folder / file, name)
    (folder / CASCADE).write_text(spec_to_json(_without(spec, name)))
    write_hashes(folder)
    return Bundle(folder)


def _drop_output(file: Path, name: str) -> None:
    model = onnx.load(file)
    kept = [output for output in model.graph.output if output.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, file)


def _without(spec: CascadeSpec, name: str) -> CascadeSpec:
    def smaller(node: NodeSpec) -> NodeSpec:
        return replace(node, outputs=tuple(one for one in node.outputs if one != name))

    sections = dict(spec.sections)
    if SECTION in sections:
        agree = sections[SECTION].content["masks_agree"]
        sections[SECTION] = Section(Doubts(masks_agree=agree).as_content())
    return replace(
        spec,
        shapes={one: shape for one, shape in spec.shapes.items() if one != name},
        dtypes={one: dtypes for one, dtypes in spec.dtypes.items() if one != name},
        nodes=tuple(smaller(node) for node in spec.nodes),
        outputs=replace(spec.outputs, features=None),
        sections=sections,
    )


def measured(bundle: Bundle, threads: int, runs: int) -> Iterator[tuple[str, ...]]:
    """A row for each backend and precision: medians in milliseconds, and the ratio of both."""
    with contextlib.ExitStack() as stack:
        plain = Path(stack.enter_context(tempfile.TemporaryDirectory())) / bundle.path.name
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(threads)
        frame_HWC = frame()
        both = {"with": bundle, "without": without_features(bundle, plain)}
        steps = {
            f"{way}, {kind}": CascadeContender(cascade, frame_HWC)
            for kind, one in both.items()
            for way, cascade in cpu_cascades(one, threads, stack).items()
        }
        bar = console.progress_bar("turns")
        taken_ms = interleaved(steps, warmup=WARMUP, runs=runs, progress=bar)
        for way in dict.fromkeys(step.rpartition(", ")[0] for step in steps):
            with_ms, without_ms = (taken_ms[f"{way}, {kind}"] for kind in both)
            ratio = paired_ratio(with_ms, without_ms)
            medians = (latency_from_samples(ms, WARMUP).p50_ms for ms in (with_ms, without_ms))
            cells = (f"{median:.2f} ms" for median in medians)
            yield (way, *cells, f"{ratio.median:.3f} ({ratio.p10:.3f} to {ratio.p90:.3f})")


def main(
    path: Annotated[
        Path, typer.Argument(metavar="bundle", help="Bundle that gives features, folder or zip.")
    ],
    runs: Annotated[int, typer.Option(min=1, max=MOST_RUNS, help="Timed turns.")] = 200,
    threads: Annotated[int, typer.Option(min=1, help="Of every cascade.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Write the table to this file, too.")] = None,
) -> None:
    """What the classifier's features cost a frame."""
    before, bundle = activity(), Bundle(path)
    head = ("backend", "with features", "without", "with over without (10 % to 90 % of turns)")
    rows = list(measured(bundle, threads, runs))
    during = conditions(before, activity(), public_command("features_cost.py", sys.argv[1:]))
    judged = " and judges by them" if Doubts.of(bundle.spec, bundle.read).space else ""
    text = (
        f"# What features cost\n\n`{bundle.id}` gives features{judged}. One 1920x1080 frame to its "
        f"finding, {threads} threads, medians of {runs} turns after {WARMUP} for "
        f"warm-up.\n\n{table(head, rows)}\n\n"
        f"{table(('where', 'and when'), machine_rows(machine(), during))}\n"
    )
    console.show(text, end="", keep="\n")
    if out is not None:
        replace_file(out, text.encode())


if __name__ == "__main__":
    console.run(lambda: typer.run(main))

"""Several bundles side by side on this CPU: size, time and accuracy, all in turn in one run."""

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2

from ckd.benchmarks.accuracy import Accuracy, accuracy, scored
from ckd.benchmarks.contenders import Chain, cpu_cascades, frame
from ckd.benchmarks.machine import Conditions, Machine, activity, conditions, machine
from ckd.benchmarks.markdown import table
from ckd.benchmarks.measure import (
    Latency,
    Progress,
    Ratio,
    interleaved,
    latency_from_samples,
    paired_ratio,
)
from ckd.benchmarks.size import Size, size_of
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.data.samples import SampleSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One bundle.

    Attributes:
        frame: from a 1920x1080 frame to masks and probabilities, by "backend PRECISION".
        times_first: how often each goes into the first bundle's time on the same backend and
            precision, turn by turn; above 1 is faster.
        trained: whether its answers mean anything.
        accuracy: on ONNX Runtime in FP32; None without a data set, and untrained.
    """

    bundle: str
    system: str
    num_networks: int
    image_size: int
    size: Size
    frame: Mapping[str, Latency]
    times_first: Mapping[str, Ratio]
    trained: bool
    accuracy: Accuracy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """All of them, on one machine in one run."""

    sides: tuple[Side, ...]
    data: str | None
    threads: int
    machine: Machine
    conditions: Conditions


def side_by_side(
    bundles: Sequence[Path],
    untrained: Sequence[Path] = (),
    *,
    threads: int,
    warmup: int,
    runs: int,
    command: str,
    samples: SampleSet | None = None,
    progress: Progress | None = None,
) -> SideBySide:
    """Measure several bundles on every installed CPU backend in every precision they have.

    Args:
        bundles: folders or zip files, with different names.
        untrained: bundles to measure the size and time of.
        threads: of every cascade.
        warmup: turns that do not count.
        runs: turns that count.
        command: to be quoted.
        samples: images with truth to score the answers on.
        progress: told after every call.

    Raises:
        UsageError: two bundles have one name.
        InputError: an image cannot be read, or has a label that a bundle does not know.
    """
    before = activity()
    trained = {bundle.spec.name: bundle for bundle in map(Bundle, bundles)}
    opened = trained | {bundle.spec.name: bundle for bundle in map(Bundle, untrained)}
    if len(opened) < len(bundles) + len(untrained):
        raise UsageError("two bundles have one name; export one of them anew with --name")
    frame_HWC = frame()
    accuracies: dict[str, Accuracy] = {}
    with contextlib.ExitStack() as stack:
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(threads)
        racing: dict[tuple[str, str], Chain] = {}
        for name, bundle in opened.items():
            for way, cascade in cpu_cascades(bundle, threads, stack).items():
                racing[name, way] = Chain(cascade, frame_HWC)
            if samples is not None and name in trained:
                accuracies[name] = accuracy(racing[name, _REFERENCE].cascade, samples)
        steps = {f"{name} {way}": step for (name, way), step in racing.items()}
        frame_ms = interleaved(steps, warmup=warmup, runs=runs, progress=progress)
    first = next(iter(opened))
    ways = {name: [way for other, way in racing if other == name] for name in opened}
    return SideBySide(
        sides=tuple(
            Side(
                bundle=f"{name}@{bundle.digest()[:12]}",
                system=bundle.spec.system,
                num_networks=len(bundle.spec.nodes),
                image_size=bundle.spec.image_size,
                size=size_of(bundle),
                frame={
                    way: latency_from_samples(frame_ms[f"{name} {way}"], warmup)
                    for way in ways[name]
                },
                times_first={
                    way: paired_ratio(frame_ms[f"{first} {way}"], frame_ms[f"{name} {way}"])
                    for way in ways[name]
                    if way in ways[first]
                },
                trained=name in trained,
                accuracy=accuracies.get(name),
            )
            for name, bundle in opened.items()
        ),
        data=None if samples is None else f"{len(samples)} images of {samples.name}",
        threads=threads,
        machine=machine(),
        conditions=conditions(before, activity(), command),
    )


_REFERENCE = "onnxruntime FP32"


def to_json(found: SideBySide) -> str:
    """Everything, times in milliseconds."""
    tree = {"schema": 1, "measured": "side by side", **asdict(found)}
    for side, record in zip(found.sides, tree["sides"], strict=True):
        record["accuracy"] = side.accuracy and side.accuracy.as_dict()
    return json.dumps(tree, indent=1) + "\n"


def to_markdown(found: SideBySide) -> str:
    """A table for people, with the machine and what disturbed the measurement."""
    ways = list(dict.fromkeys(way for side in found.sides for way in side.frame))
    head = ("bundle", "networks", "parameters", "GMAC", "FP32 files", *ways)
    scores = ("Jaccard", "Dice", "mean AUC") if found.data else ()
    rows = [
        (
            f"{side.bundle.partition('@')[0]} ({side.image_size} px)"
            + ("" if side.trained else ", untrained"),
            str(side.num_networks),
            f"{side.size.parameters / 1e6:.2f} M",
            f"{side.size.macs / 1e9:.2f}",
            f"{side.size.fp32_bytes / 1e6:.1f} MB",
            *(f"{side.frame[way].p50_ms:.1f} ms" if way in side.frame else "" for way in ways),
            *_scores(side, len(scores)),
        )
        for side in found.sides
    ]
    data = f" Scores on {found.data}, single view, with 95 % intervals." if found.data else ""
    one = next(iter(found.sides[0].frame.values()))
    lines = [
        "# Systems side by side",
        "",
        "Medians of one 1920x1080 frame, from the frame to masks and probabilities; all in turn in "
        f"one run. Sizes are of the exported networks.{data}",
        "",
        table((*head, *scores), rows),
        "",
        f"{found.machine.cpu}, {found.threads} threads; {one.runs} turns after {one.warmup} for "
        f"warm-up. Other processes used {found.conditions.other_cores:.2f} cores. "
        f"{found.conditions.date}.",
        "",
        f"`{found.conditions.command}`",
        "",
        ", ".join(f"{name} {version}" for name, version in found.machine.versions.items()),
    ]
    return "\n".join(lines) + "\n"


def _scores(side: Side, num_columns: int) -> tuple[str, ...]:
    return ("",) * num_columns if side.accuracy is None else scored(side.accuracy.scores)


def write_side_by_side(found: SideBySide, folder: Path) -> list[str]:
    """Write ``systems.json`` and ``systems.md``; their names are returned."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "systems.json").write_text(to_json(found), encoding="utf-8")
    (folder / "systems.md").write_text(to_markdown(found), encoding="utf-8")
    return ["systems.json", "systems.md"]

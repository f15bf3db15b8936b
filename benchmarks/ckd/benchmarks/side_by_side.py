"""Several bundles side by side on this CPU: size, time and accuracy, all in turn in one run."""

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from ckd.benchmarks.accuracy import Accuracy, accuracy
from ckd.benchmarks.contenders import CascadeContender, cpu_cascades, frame
from ckd.benchmarks.machine import Conditions, Machine, activity, conditions, machine
from ckd.benchmarks.measure import (
    Latency,
    Ratio,
    interleaved,
    latency_from_samples,
    paired_ratio,
)
from ckd.benchmarks.size import Size, size_of
from ckd.console import Progress, say
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.data.layouts import read_unseen
from ckd.data.samples import SampleSet

#: Where the accuracy of a bundle is measured.
_REFERENCE = "onnxruntime FP32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One bundle.

    Attributes:
        frame: from a 1920x1080 frame to masks and probabilities, by "backend PRECISION".
        times_first: the first bundle's time over this one's on the same backend and precision,
            turn by turn; above 1 is faster.
        trained: whether its weights are; if not, its answers mean nothing.
        accuracy: on ONNX Runtime in FP32; None without a data set or with untrained weights.
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
    """All bundles, on one machine in one run."""

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
        racing: dict[tuple[str, str], CascadeContender] = {}
        for name, bundle in opened.items():
            for way, cascade in cpu_cascades(bundle, threads, stack).items():
                racing[name, way] = CascadeContender(cascade, frame_HWC)
            if samples is not None and name in trained:
                accuracies[name] = accuracy(racing[name, _REFERENCE].cascade, samples)
        steps = {f"{name} {way}": step for (name, way), step in racing.items()}
        frame_ms = interleaved(steps, warmup=warmup, runs=runs, progress=progress)
    first = next(iter(opened))
    ways = {name: [way for other, way in racing if other == name] for name in opened}
    return SideBySide(
        sides=tuple(
            Side(
                bundle=bundle.id,
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


def systems_side_by_side(
    bundles: Sequence[Path],
    recipes: Sequence[str],
    data: Path | None,
    *,
    threads: int,
    warmup: int,
    runs: int,
    command: str,
    progress: Progress | None = None,
) -> SideBySide:
    """Measure bundles, and recipes with untrained weights; see `side_by_side`.

    Args:
        bundles: folders or zip files, with different names.
        recipes: names.
        data: data set whose validation images judge the bundles.
        threads: of every cascade.
        warmup: turns that do not count.
        runs: turns that count.
        command: to be quoted.
        progress: told after every call.
    """
    specs = [Bundle(bundle).spec for bundle in bundles]
    samples = None if data is None else read_unseen(data, "val", specs, say)
    with tempfile.TemporaryDirectory() as folder:
        untrained: list[Path] = []
        if recipes:
            from ckd.benchmarks.subjects import untrained_bundles  # needs PyTorch

            untrained = untrained_bundles(recipes, Path(folder))
        return side_by_side(
            bundles,
            untrained,
            threads=threads,
            warmup=warmup,
            runs=runs,
            command=command,
            samples=samples,
            progress=progress,
        )

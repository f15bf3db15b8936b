"""Encoders in a whole cascade on this CPU: whether it is exported and quantised, and its time.

The cascade is that of `ckdnet-mobile` with untrained weights, so its answers mean nothing, and no
accuracy is measured. Needs the extra [export].

Suffixes: H rows, W columns, C channels in RGB order.
"""

import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ckd.benchmarks.contenders import CascadeContender, CascadeSetting, frame
from ckd.benchmarks.machine import Conditions, Machine, activity, conditions, machine
from ckd.benchmarks.markdown import rounded, table
from ckd.benchmarks.measure import interleaved, latency_from_samples
from ckd.benchmarks.subjects import calibrate_batch_norm
from ckd.calibration.images import by_digest
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.console import Progress
from ckd.contract.bundle import Bundle
from ckd.contract.errors import CkdError
from ckd.contract.labels import ISIC2017
from ckd.contract.whole_file import replace_file
from ckd.data.synthetic.write import dermoscopy
from ckd.export.bundle import write_bundle
from ckd.export.verify import verify_bundle
from ckd.train.networks.survey import (
    EncoderCost,
    MeasuredBackbone,
    cost_tree,
    encoder_cost,
    library_of,
)
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.text import with_overrides

_RECIPE = "ckdnet-mobile"
#: Generated images that INT8 ranges are measured on; enough to run, too few to ship.
_NUM_CALIBRATION = 8
#: Every pixel is lesion. An untrained network's border lies anywhere, and rounding moves so many of
#: its few pixels that golden cases would fail; they are then compared by their probabilities.
_SURE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneReport:
    """All encoders, one after another on one machine."""

    image_size: int
    threads: int
    runs: int
    costs: tuple[EncoderCost, ...]
    backbones: tuple[MeasuredBackbone, ...]
    machine: Machine
    conditions: Conditions


def measure_backbones(
    names: Sequence[str],
    *,
    image_size: int,
    threads: int,
    warmup: int,
    runs: int,
    command: str,
    progress: Progress | None = None,
) -> BackboneReport:
    """Count, export, quantise and time a cascade on every encoder.

    Args:
        names: of encoders.
        image_size: side of the networks' input in pixels.
        threads: of every cascade.
        warmup: turns that do not count.
        runs: turns that count; FP32 and INT8 of one encoder take turns.
        command: to be quoted.
        progress: told after every encoder.

    Raises:
        UsageError: no library has a network of one of the names.
    """
    before = activity()
    recipes = {
        name: with_overrides(
            find_recipe(_RECIPE), [f"system.backbone={name}", f"image_size={image_size}"]
        )
        for name in names
    }
    frame_HWC = frame()
    costs, rows = [], []
    for done, (name, recipe) in enumerate(recipes.items(), start=1):
        costs.append(encoder_cost(name, image_size))
        rows.append(_measured(name, recipe, frame_HWC, threads, warmup, runs))
        if progress is not None:
            progress(done, len(recipes))
    return BackboneReport(
        image_size=image_size,
        threads=threads,
        runs=runs,
        costs=tuple(costs),
        backbones=tuple(rows),
        machine=machine(),
        conditions=conditions(before, activity(), command),
    )


def to_json(report: BackboneReport) -> str:
    """Everything, times in milliseconds; `ckd-train backbones --measured` reads it."""
    tree = {"schema": 1, **asdict(report), "costs": list(map(cost_tree, report.costs))}
    return json.dumps(rounded(tree), indent=1) + "\n"


def to_markdown(report: BackboneReport) -> str:
    """A table for people, with the machine and what disturbed the measurement."""
    head = (
        "encoder",
        "library",
        "parameters",
        "GMAC",
        "cuts",
        "exports",
        "quantises",
        "FP32",
        "INT8",
    )
    lines = [
        "# Encoders",
        "",
        "Parameters and multiply-accumulates of the encoder with its head. The other columns are "
        f"of a whole {_RECIPE} on it at {report.image_size} px with untrained weights: whether its "
        "ONNX files compute what PyTorch computes, whether static INT8 repeats its golden cases, "
        "and the median time from a 1920x1080 frame to masks and probabilities on ONNX Runtime.",
        "",
        table(head, map(_row, report.costs, report.backbones)),
        "",
        *(f"{row.refusal}.\n" for row in report.backbones if row.refusal),
        f"{report.machine.cpu}, {report.threads} threads; {report.runs} turns. Other processes "
        f"used {report.conditions.other_cores:.2f} cores. {report.conditions.date}.",
        "",
        f"`{report.conditions.command}`",
    ]
    return "\n".join(lines) + "\n"


def write_backbones(report: BackboneReport, folder: Path) -> list[str]:
    """Write ``backbones.json`` and ``backbones.md``; their names are returned."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "backbones.json", to_json(report).encode())
    replace_file(folder / "backbones.md", to_markdown(report).encode())
    return ["backbones.json", "backbones.md"]


def _measured(
    name: str, recipe: Recipe, frame_HWC: NDArray[np.uint8], threads: int, warmup: int, runs: int
) -> MeasuredBackbone:
    exports = quantises = False
    p50_ms: Mapping[str, float] = {}
    refusal = None
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(recipe.seed)
                system = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None)
                calibrate_batch_norm(system)
            system.mask_threshold = _SURE
            write_bundle(system, folder / "float", name="encoder", provenance={"weights": "none"})
            exports = True
            images = _images(folder, recipe.image_size)
            setting = QuantSetting(method="minmax", tensorrt=False)
            quantise_bundle(Bundle(folder / "float"), images, folder / "int8", setting=setting)
            verify_bundle(folder / "int8")
            quantises = True
        except CkdError as error:
            refusal = str(error).replace(f"{folder}/", "")
        if exports:
            p50_ms = _times(folder, quantises, frame_HWC, threads, warmup, runs)
    return MeasuredBackbone(
        backbone=name,
        image_size=recipe.image_size,
        refusal=refusal,
        exports=exports,
        quantises=quantises,
        fp32_ms=p50_ms.get("fp32"),
        int8_ms=p50_ms.get("int8"),
    )


def _images(folder: Path, side_px: int) -> dict[str, Path]:
    paths = []
    for seed in range(_NUM_CALIBRATION):
        paths.append(folder / f"{seed}.png")
        Image.fromarray(dermoscopy(seed, side_px).image_HWC).save(paths[-1])
    return by_digest(paths)


def _times(
    folder: Path,
    quantised: bool,
    frame_HWC: NDArray[np.uint8],
    threads: int,
    warmup: int,
    runs: int,
) -> Mapping[str, float]:
    """Medians of a frame by precision, taking turns."""
    bundles = {"fp32": folder / "float"} | ({"int8": folder / "int8"} if quantised else {})
    with contextlib.ExitStack() as stack:
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(threads)
        steps = {}
        for precision, bundle in bundles.items():
            setting = CascadeSetting(precision=precision, threads=threads)
            steps[precision] = CascadeContender(
                stack.enter_context(setting.load(bundle)), frame_HWC
            )
        taken_ms = interleaved(steps, warmup=warmup, runs=runs)
    return {name: latency_from_samples(ms, warmup).p50_ms for name, ms in taken_ms.items()}


def _row(cost: EncoderCost, row: MeasuredBackbone) -> tuple[str, ...]:
    counted = (
        ("", "")
        if cost.parameters is None or cost.macs is None
        else (f"{cost.parameters / 1e6:.2f} M", f"{cost.macs / 1e9:.2f}")
    )
    answers = (cost.refusal is None, row.exports, row.quantises)
    times = ("" if ms is None else f"{ms:.1f} ms" for ms in (row.fp32_ms, row.int8_ms))
    return (
        cost.backbone,
        library_of(cost.backbone),
        *counted,
        *("yes" if a else "no" for a in answers),
        *times,
    )

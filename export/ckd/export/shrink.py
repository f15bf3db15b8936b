"""A smaller bundle: weights of the float32 files in half precision, if that changes no decision."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from ckd.calibration.cost import answer, cost_of
from ckd.calibration.half_weights import with_half_weights
from ckd.console import Bars, no_bars
from ckd.contract.bundle import Bundle, check_new
from ckd.contract.card import MODEL_CARD, with_part
from ckd.contract.errors import GateFailed
from ckd.contract.hashes import write_hashes
from ckd.contract.whole_file import new_folder
from ckd.data.samples import SampleSet
from ckd.export.verify import check_acceptance
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.scores.images import ImageScore

#: Title of the part of a model card on what the smaller files cost.
TITLE: Final = "Weights in half precision"
#: The most that the mean Jaccard index may change.
MAX_JACCARD: Final = 0.0005


@dataclass(frozen=True, slots=True)
class ShrinkReport:
    """What was gained, and what it cost on the images.

    Attributes:
        bytes_before: of all files.
        bytes_after: of all files, before the model card says so.
        num_images: that were compared.
        jaccard_lost: of the mean over images with a mask, None without any.
        largest_change: of any label's probability on any image, None without a classifier.
    """

    bytes_before: int
    bytes_after: int
    num_images: int
    jaccard_lost: float | None
    largest_change: float | None


def shrink_bundle(
    source: Bundle, samples: SampleSet, out: Path, bars: Bars = no_bars
) -> ShrinkReport:
    """Write a copy of a bundle whose float32 files hold weights in half precision.

    Both bundles answer all images on ONNX Runtime, in float32 as before.

    Args:
        source: to copy.
        samples: images to compare on.
        out: folder to create.
        bars: begins one bar for each of both bundles.

    Raises:
        UsageError: ``out`` exists.
        InputError: an image cannot be read.
        GateFailed: a decision changes on an image, the most probable label does, or the masks move
            more than `MAX_JACCARD`; the message names the image.
    """
    check_new(out)
    with new_folder(out) as new:
        folder = new.path
        source.copy_to(folder)
        for name in {node.files["fp32"] for node in source.spec.nodes}:
            half = with_half_weights(onnx.load_from_string(source.read(name)))
            (folder / name).write_bytes(half.SerializeToString(deterministic=True))
        write_hashes(folder)
        shrunk = Bundle(folder)
        exact = _answers(source, samples, bars)
        rounded = _answers(shrunk, samples, bars)
        report = _compared(source, shrunk, samples, exact, rounded)
        if (card := folder / MODEL_CARD).is_file():
            card.write_text(with_part(card.read_text(), TITLE, _sentence(report)))
            write_hashes(folder)
        new.keep()
    return report


def _answers(bundle: Bundle, samples: SampleSet, bars: Bars) -> tuple[ImageScore, ...]:
    with Cascade(bundle, open_backend("onnxruntime", "cpu", None), "fp32") as cascade:
        check_acceptance(cascade, bundle)
        return answer(cascade.predict, samples, bars("compare"))


def _compared(
    source: Bundle,
    shrunk: Bundle,
    samples: SampleSet,
    exact: Sequence[ImageScore],
    rounded: Sequence[ImageScore],
) -> ShrinkReport:
    cost = cost_of(rounded, exact, samples, source.spec, {})
    largest = 0.0
    for before, after in zip(exact, rounded, strict=True):
        if before.probabilities is None or after.probabilities is None:
            continue
        before_K, after_K = np.array(before.probabilities), np.array(after.probabilities)
        largest = max(largest, float(np.abs(after_K - before_K).max()))
        if before.verdict != after.verdict:
            raise GateFailed(
                f"{source.path}: weights in half precision change the verdict on {before.id} "
                f"({before_K.round(3).tolist()} before, {after_K.round(3).tolist()} after); keep "
                "the files as they are"
            )
    if cost.jaccard is not None and abs(cost.jaccard) > MAX_JACCARD:
        raise GateFailed(
            f"{source.path}: weights in half precision move the mean Jaccard index by "
            f"{-cost.jaccard:+.5f}, expected {MAX_JACCARD} at most; keep the files as they are"
        )
    return ShrinkReport(
        bytes_before=source.num_bytes(),
        bytes_after=shrunk.num_bytes(),
        num_images=len(samples),
        jaccard_lost=cost.jaccard,
        largest_change=largest if exact[0].probabilities is not None else None,
    )


def _sentence(report: ShrinkReport) -> str:
    parts = [
        f"The float32 files hold their weights in half precision ({report.bytes_before / 1e6:.1f} "
        f"MB before, {report.bytes_after / 1e6:.1f} MB after). On {report.num_images} images no "
        "decision changed"
    ]
    if report.largest_change is not None:
        parts.append(f"no probability moved by more than {report.largest_change:.4f}")
    if report.jaccard_lost is not None:
        parts.append(f"the mean Jaccard index moved by {-report.jaccard_lost:+.5f}")
    return ", ".join(parts) + "."

"""What settling an answer over frames is worth: pans over photographs, single frames against pools.

A made-up hand (`ckd.data.synthetic.pans`) looks at each photograph for two seconds, and then goes
from photographs to others beside them. Truth is that of the photographs.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import frame
from ckd.console import Progress
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.data.captures import rng_of
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet
from ckd.data.synthetic import Hand, pan, pan_over_two
from ckd.finding.finding import Finding
from ckd.picture.decode import read_rgb
from ckd.runtime.cascade import Cascade
from ckd.runtime.settling import Settler
from ckd.scores.metrics import bootstrap_interval
from ckd.scores.ranking import roc_auc

FPS: Final = 30
#: A pool that began before this share of the way and lasts beyond the rest of it holds two lesions.
_NEAR: Final = 0.25


@dataclass(frozen=True, slots=True)
class Pan:
    """One photograph, looked at: a value for each frame.

    Attributes:
        id: of the photograph.
        is_target: whether it shows what is looked for.
        single: probability of the target by the frame alone; nan without an answer.
        pooled: of the settled answer.
        refers: the frame's decision and the settled one: 1, 0, or -1 without one.
        settled: whether the answer was settled.
        jaccard: of the frame's fine mask, and of the smoothed one, with the truth; nan of frames
            that could not be pooled.
        taken_ms: by the settler.
    """

    id: str
    is_target: bool
    single: NDArray[np.float64]
    pooled: NDArray[np.float64]
    refers: NDArray[np.int_]
    settled: NDArray[np.bool_]
    jaccard: NDArray[np.float64]
    taken_ms: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """The figures of a run.

    Attributes:
        bundle: that was measured.
        target: what is looked for.
        threshold: of its probability, from which on it is flagged.
        num_photographs: that were looked at.
        num_answered: of those, with an answer at the end of the pan; the AUC is of these.
        num_frames: of each.
        side_px: of the frames.
        auc_single: of the target, mean over the frames of all pans at one time.
        auc_pooled: at the last frame.
        auc_gain: interval of the difference, by bootstrap over photographs.
        auc_apart: both, for the half of the photographs whose frames differ most.
        flips_single: changes of the decision in a second of a pan.
        flips_pooled: of the settled answer.
        settled_s: seconds until it is settled, median and 90th percentile.
        never_settled: photographs whose answer never was.
        jaccard_single: mean over the frames that could be pooled.
        jaccard_pooled: likewise.
        unjudged: share of the frames that could not, as they have a hint or no answer.
        two_lesions: pans over two photographs.
        two_pooled: of those, pans in which one pool held both.
        taken_ms: by the settler for a frame, median.
        taken_1080p_ms: for a frame of 1920x1080.
    """

    bundle: str
    target: str
    threshold: float
    num_photographs: int
    num_answered: int
    num_frames: int
    side_px: int
    auc_single: float
    auc_pooled: float
    auc_gain: tuple[float, float]
    auc_apart: tuple[float, float]
    flips_single: float
    flips_pooled: float
    settled_s: tuple[float, float]
    never_settled: int
    jaccard_single: float
    jaccard_pooled: float
    unjudged: float
    two_lesions: int
    two_pooled: int
    taken_ms: float
    taken_1080p_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def measure_settling(
    cascade: Cascade,
    samples: SampleSet,
    *,
    num_frames: int = 60,
    side_px: int = 384,
    every: int = 1,
    num_pairs: int = 30,
    progress: Progress = lambda done, total: None,
) -> tuple[Settling, list[Pan]]:
    """Look at photographs with a made-up hand.

    Args:
        cascade: that decides.
        samples: with masks and labels.
        num_frames: of each photograph.
        side_px: of the frames.
        every: takes every n-th photograph.
        num_pairs: pans over two photographs.
        progress: told how many pans are done.

    Raises:
        InputError: no photograph has mask and label, or the bundle decides nothing.
    """
    points = cascade.decider.points
    if points is None:
        raise InputError(f"{cascade.bundle_id} decides nothing; settling is measured by decisions")
    chosen = [one for one in samples.samples if one.mask is not None and one.label is not None]
    chosen = chosen[::every]
    if len(chosen) < 2:
        raise InputError(f"{samples.name}: expected two photographs with mask and label at least")
    pairs = [(chosen[i], chosen[i + 1]) for i in range(len(chosen) - 1)]
    pairs = pairs[:: max(1, len(pairs) // max(num_pairs, 1))][:num_pairs]
    total, pans = len(chosen) + len(pairs), []
    if points.target not in samples.labels:
        raise InputError(f"{samples.name} has no label {points.target}, which is looked for")
    target = samples.labels.index(points.target)
    for done, sample in enumerate(chosen, start=1):
        pans.append(_looked_at(cascade, sample, target, points.target, num_frames, side_px))
        progress(done, total)
    both = 0
    for done, (one, other) in enumerate(pairs, start=len(chosen) + 1):
        both += _holds_both(cascade, one, other, num_frames, side_px)
        progress(done, total)
    return _figures(cascade, pans, len(pairs), both, num_frames, side_px), pans


def _looked_at(
    cascade: Cascade, sample: Sample, target: int, label: str, num_frames: int, side_px: int
) -> Pan:
    assert sample.mask is not None
    settler, rows = Settler(cascade.decider), []
    image_HWC, truth_HW = read_rgb(sample.image), read_mask(sample.mask)
    frames = pan(image_HWC, truth_HW, rng_of(sample.id), num_frames, side_px, Hand())
    for number, (frame_HWC, true_HW) in enumerate(frames):
        own = cascade.predict(frame_HWC)
        start_s = time.perf_counter()
        settled = settler.settle(own, number / FPS)
        taken_ms = 1e3 * (time.perf_counter() - start_s)
        rows.append(
            (
                own.fitted.get(label, np.nan), settled.fitted.get(label, np.nan),
                _refers(own), _refers(settled),
                settled.pooled is not None and settled.pooled.settled,
                *_overlaps(own, settled, true_HW), taken_ms,
            )
        )  # fmt: skip
    single, pooled, refers, refers_settled, is_settled, *scores = map(
        np.array, zip(*rows, strict=True)
    )
    return Pan(
        sample.id, sample.label == target, single, pooled,
        np.stack([refers, refers_settled]), is_settled, np.stack(scores[:2]), scores[2],
    )  # fmt: skip


def _holds_both(
    cascade: Cascade, one: Sample, other: Sample, num_frames: int, side_px: int
) -> bool:
    settler, began = Settler(cascade.decider), 0.0
    images = read_rgb(one.image), read_rgb(other.image)
    frames = pan_over_two(*images, rng_of(one.id), 2 * num_frames, side_px, Hand())
    for number, (frame_HWC, gone) in enumerate(frames):
        pooled = settler.settle(cascade.predict(frame_HWC), number / FPS).pooled
        if pooled is None or pooled.is_held:
            continue
        if pooled.frames == 1:
            began = gone
        if began < _NEAR and gone > 1 - _NEAR:
            return True
    return False


def _figures(
    cascade: Cascade, pans: Sequence[Pan], pairs: int, both: int, num_frames: int, side_px: int
) -> Settling:
    answered = [pan for pan in pans if not np.isnan(pan.pooled[-1])]
    if len(answered) < 2:
        raise InputError(f"{cascade.bundle_id} answers {len(answered)} of {len(pans)} photographs")
    points, point = cascade.decider.points, cascade.decider.point
    assert points is not None
    assert point is not None
    is_target_N = np.array([pan.is_target for pan in answered])
    pooled_NT = np.stack([pan.pooled for pan in answered])
    # A frame without an answer of its own gives what the others of its pan give.
    single_NT = np.stack(
        [np.nan_to_num(pan.single, nan=float(np.nanmean(pan.single))) for pan in answered]
    )

    def aucs(which: NDArray[np.intp]) -> tuple[float, float]:
        singles = [roc_auc(single_NT[which, t], is_target_N[which]) for t in range(num_frames)]
        return float(np.mean(singles)), roc_auc(pooled_NT[which, -1], is_target_N[which])

    every_N = np.arange(len(answered))
    auc_single, auc_pooled = aucs(every_N)
    spread_N = single_NT.std(axis=1)
    apart_N = np.flatnonzero(spread_N >= np.median(spread_N))
    seconds = len(pans) * num_frames / FPS
    flips = [sum(changes(pan.refers[row]) for pan in pans) / seconds for row in (0, 1)]
    overlaps = np.stack([pan.jaccard for pan in pans])
    firsts = [int(np.argmax(pan.settled)) / FPS for pan in pans if pan.settled.any()]
    return Settling(
        bundle=cascade.bundle_id,
        target=points.target,
        threshold=point.at_least,
        num_photographs=len(pans),
        num_answered=len(answered),
        num_frames=num_frames,
        side_px=side_px,
        auc_single=auc_single,
        auc_pooled=auc_pooled,
        auc_gain=bootstrap_interval(
            lambda which: float(np.diff(aucs(which))[0]), len(answered), repeats=200
        ),
        auc_apart=aucs(apart_N),
        flips_single=flips[0],
        flips_pooled=flips[1],
        settled_s=(float(np.median(firsts)), float(np.quantile(firsts, 0.9)))
        if firsts
        else (np.nan, np.nan),
        never_settled=sum(not pan.settled.any() for pan in pans),
        jaccard_single=float(np.nanmean(overlaps[:, 0])),
        jaccard_pooled=float(np.nanmean(overlaps[:, 1])),
        unjudged=float(np.isnan(overlaps[:, 0]).mean()),
        two_lesions=pairs,
        two_pooled=both,
        taken_ms=float(np.median(np.concatenate([pan.taken_ms for pan in pans]))),
        taken_1080p_ms=_taken_1080p_ms(cascade),
    )


def _taken_1080p_ms(cascade: Cascade, runs: int = 20) -> float:
    """The settler's median time for a frame of 1920x1080."""
    finding = replace(cascade.predict(frame()), capture=None)  # pooled, whatever its capture
    settler, taken_ms = Settler(cascade.decider), []
    for number in range(runs):
        start_s = time.perf_counter()
        settler.settle(finding, number / FPS)
        taken_ms.append(1e3 * (time.perf_counter() - start_s))
    return float(np.median(taken_ms))


def changes(refers: NDArray[np.int_]) -> int:
    """How often a decision changes; frames without one are passed over."""
    return int(np.count_nonzero(np.diff(refers[refers >= 0])))


def _refers(finding: Finding) -> int:
    return -1 if finding.decision is None else int(finding.decision.refer)


def _overlaps(own: Finding, settled: Finding, true_HW: NDArray[np.bool_]) -> tuple[float, float]:
    """Of the frame's mask and the smoothed one with the truth; nan where either is not there."""
    masks = own.mask_HW, settled.mask_HW
    if settled.is_held or settled.reason is not None or masks[0] is None or masks[1] is None:
        return np.nan, np.nan
    return (
        confusion_from_masks(masks[0], true_HW).jaccard,
        confusion_from_masks(masks[1], true_HW).jaccard,
    )

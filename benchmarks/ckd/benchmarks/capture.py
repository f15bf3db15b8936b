"""What the capture coach is worth: who passes, what is caught, what it is good for, what it costs.

Everything is measured as on a device: lesions are outlined by the networks, which a fault may
mislead too, and photographs are those that nothing was fitted on.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.contenders import frame
from ckd.capture import CHECKS, framing_scores
from ckd.console import Bars, no_bars
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import InputError
from ckd.data.captures import FAULTS, GRADES, faulty, rng_of, scene
from ckd.data.masks import read_mask
from ckd.data.samples import SampleSet
from ckd.finding.finding import Finding
from ckd.picture.decode import read_rgb
from ckd.runtime.cascade import Cascade
from ckd.scores.metrics import bootstrap_interval
from ckd.scores.ranking import roc_auc
from ckd.scores.shares import share_interval

#: Scenes from this number on fitted nothing.
_FIRST_SCENE: Final = 5000
_RUNS_1080P: Final = 30
#: Photographs as they are, and with faults of light and lens; and with those of where the lesion
#: lies, which mislead the outline that they are judged by.
KINDS: Final = ("optical", "framing")
_FRAMING: Final = ("cut_off", "too_small", "off_centre")

Picture = tuple[NDArray[np.uint8], NDArray[np.bool_], str]


@dataclass(slots=True)
class Caught:
    """Pictures of one kind.

    Attributes:
        total: clean pictures, whose lesion lies well by truth.
        passed: those without a hint.
        hints: how often each hint was given of clean ones.
        unframed: pictures whose lesion is cut off, small or off centre as they are.
        unframed_caught: those with a hint.
        found: by hint and grade, how many faulty pictures were given that hint, any hint, and a
            hint or no answer; of how many.
    """

    total: int = 0
    passed: int = 0
    hints: Counter[str] = field(default_factory=Counter)
    unframed: int = 0
    unframed_caught: int = 0
    found: dict[tuple[str, int], tuple[int, int, int, int]] = field(default_factory=dict)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the share that passes."""
        return share_interval(self.passed, self.total)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON; found is by "hint grade": as such, at all, or no answer, of how many."""
        return {
            "total": self.total,
            "passed": self.passed,
            "hints": dict(self.hints),
            "unframed": self.unframed,
            "unframed_caught": self.unframed_caught,
            "found": {f"{hint} {grade}": list(row) for (hint, grade), row in self.found.items()},
        }


@dataclass(slots=True)
class Worth:
    """Answers of pictures that pass, or of those that do not.

    Attributes:
        names: of the photographs, each of which is there with several faults.
        scores: probability of the target.
        is_target: truth.
        jaccard: of the mask.
    """

    names: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    is_target: list[bool] = field(default_factory=list)
    jaccard: list[float] = field(default_factory=list)

    def add(self, name: str, finding: Finding, target: str, is_target: bool, truth_HW: Any) -> None:
        """Take in a picture's finding."""
        self.names.append(name)
        self.scores.append(finding.raw.probabilities[target])
        self.is_target.append(is_target)
        mask_HW = finding.raw.mask_HW
        overlap = 0.0 if mask_HW is None else confusion_from_masks(mask_HW, truth_HW).jaccard
        self.jaccard.append(overlap)

    def figures(self) -> dict[str, Any]:
        """AUC and mean Jaccard index with 95 % intervals over photographs."""
        scores_N, is_target_N, jaccard_N = map(
            np.array, (self.scores, self.is_target, self.jaccard)
        )

        of_photograph: dict[str, list[int]] = {}
        for number, name in enumerate(self.names):
            of_photograph.setdefault(name, []).append(number)
        groups = [np.array(numbers, np.intp) for numbers in of_photograph.values()]

        def of(statistic: Callable[[NDArray[np.intp]], float]) -> dict[str, Any]:
            if len(groups) < 2:
                return {"value": None, "interval_95": None}
            # Photographs are drawn, and not pictures: those of one are not independent.
            low, high = bootstrap_interval(
                lambda drawn: statistic(np.concatenate([groups[one] for one in drawn])),
                len(groups),
            )
            return {"value": statistic(np.arange(len(scores_N))), "interval_95": [low, high]}

        return {
            "pictures": len(scores_N),
            "auc": of(lambda which: roc_auc(scores_N[which], is_target_N[which])),
            "jaccard": of(lambda which: float(jaccard_N[which].mean())),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureReport:
    """The figures of a run; shares of time are of the medians at 1920x1080."""

    bundle: str
    photographs: Caught
    scenes: Caught
    worth: dict[str, dict[str, Any]]
    capture_ms: float
    networks_ms: float
    total_ms: float

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        kinds = {"photographs": self.photographs, "scenes": self.scenes}
        return {
            "bundle": self.bundle,
            **{name: kind.as_dict() for name, kind in kinds.items()},
            "worth": self.worth,
            "capture_ms": self.capture_ms,
            "networks_ms": self.networks_ms,
            "total_ms": self.total_ms,
        }


def measure_capture(
    cascade: Cascade,
    samples: SampleSet,
    *,
    num_scenes: int,
    every: int = 1,
    bars: Bars = no_bars,
) -> CaptureReport:
    """Judge clean and faulty pictures.

    Args:
        cascade: that judges captures.
        samples: with masks and labels, that nothing was fitted on.
        num_scenes: generated pictures of 1080 px.
        every: takes every n-th photograph.
        bars: begins a bar for each kind of picture.

    Raises:
        InputError: the bundle judges no captures, or no photograph has mask and label.
    """
    if cascade.judge is None:
        raise InputError(f"{cascade.bundle_id} judges no captures; `ckd-train capture` fits how to")
    chosen = [one for one in samples.samples if one.mask is not None and one.label is not None]
    chosen = chosen[::every]
    if not chosen:
        raise InputError(f"{samples.name}: no photograph has a mask and a label")
    points = cascade.decider.points
    target = points.target if points is not None else next(iter(cascade.spec.labels), "")
    if target not in samples.labels:
        raise InputError(f"{samples.name} has no label {target or 'at all'}, which is looked for")
    number = samples.labels.index(target)
    worth = {(kind, passes): Worth() for kind in KINDS for passes in (True, False)}

    def photographs() -> Iterator[tuple[Picture, bool]]:
        for one in chosen:
            assert one.mask is not None
            yield (read_rgb(one.image), read_mask(one.mask), one.id), one.label == number

    def told(
        name: str, hint: str, finding: Finding, truth_HW: NDArray[np.bool_], is_target: bool
    ) -> None:
        passes = finding.capture is not None and finding.capture.good
        kind = "framing" if hint in _FRAMING else "optical"
        worth[kind, passes].add(name, finding, target, is_target, truth_HW)

    photo = _judged(cascade, photographs(), len(chosen), bars("photographs"), told)
    scenes = (((*scene(_FIRST_SCENE + i), f"scene {i}"), False) for i in range(num_scenes))
    drawn = _judged(cascade, scenes, num_scenes, bars("scenes"), lambda *told: None)
    timings = _timings_1080p(cascade)
    networks = [node.name for node in cascade.spec.nodes]
    return CaptureReport(
        bundle=cascade.bundle_id,
        photographs=photo,
        scenes=drawn,
        worth={
            f"{kind}, {'pass' if passes else 'do not'}": group.figures()
            for (kind, passes), group in worth.items()
        },
        capture_ms=_median(timings, ["capture"]),
        networks_ms=_median(timings, networks),
        total_ms=_median(timings, ["total"]),
    )


def _judged(
    cascade: Cascade,
    pictures: Iterator[tuple[Picture, bool]],
    total: int,
    progress: Callable[[int, int], None],
    told: Callable[[str, str, Finding, NDArray[np.bool_], bool], None],
) -> Caught:
    """Judge each picture as it is, with every strong fault, and with one of some other grade."""
    caught = Caught()
    for done, ((image_HWC, mask_HW, name), is_target) in enumerate(pictures, start=1):
        clean = cascade.predict(image_HWC)
        hints = () if clean.capture is None else clean.capture.hints
        if lies_well(clean, mask_HW):
            caught.total += 1
            caught.passed += not hints
            caught.hints.update(hints)
        else:
            caught.unframed += 1
            caught.unframed_caught += bool(hints)
        told(name, "", clean, mask_HW, is_target)
        draw = rng_of(name)
        drawn = str(draw.choice([*FAULTS])), int(draw.choice(GRADES[:-1]))
        for hint, grade in [*((hint, GRADES[-1]) for hint in FAULTS), drawn]:
            if not mask_HW.any():
                continue
            damaged_HWC, moved_HW = faulty(image_HWC, mask_HW, hint, grade, name)
            finding = cascade.predict(damaged_HWC)
            found = () if finding.capture is None else finding.capture.hints
            before = caught.found.get((hint, grade), (0, 0, 0, 0))
            now = (hint in found, bool(found), bool(found) or finding.reason is not None, 1)
            caught.found[hint, grade] = tuple(map(sum, zip(before, now, strict=True)))  # type: ignore[assignment]
            told(name, hint, finding, moved_HW, is_target)
        progress(done, total)
    return caught


def lies_well(finding: Finding, mask_HW: NDArray[np.bool_]) -> bool:
    """Whether a lesion is not cut off, small or off centre, by its true outline."""
    assert finding.seen_SS3 is not None
    framing = framing_scores(finding.seen_SS3, mask_HW)
    return bool(framing) and not any(
        CHECKS[name].fails(score, limit)
        for name, score in framing.items()
        if (limit := CHECKS[name].set_at) is not None
    )


def _timings_1080p(cascade: Cascade) -> list[dict[str, float]]:
    cascade.warmup()
    frame_HWC = frame()
    return [dict(cascade.predict(frame_HWC).timings_ms) for _ in range(_RUNS_1080P)]


def _median(timings: Sequence[dict[str, float]], steps: Sequence[str]) -> float:
    return float(np.median([sum(one[step] for step in steps) for one in timings]))

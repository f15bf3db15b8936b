"""An answer that settles: pooled over the good frames of one lesion, and held for a moment."""

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ckd.contract.errors import UsageError
from ckd.finding.decision import Decider
from ckd.finding.finding import Finding
from ckd.finding.left_out import DIAGNOSIS
from ckd.finding.outcome import Reason
from ckd.runtime.settling.following import Followed
from ckd.runtime.settling.hints import SteadyHint
from ckd.runtime.settling.pool import Pool
from ckd.runtime.settling.smoothing import SmoothMask
from ckd.runtime.settling.view import View

#: Seconds for which an answer is held while no frame can be judged; after them all begins anew.
HOLD_S: Final = 2.0


class Settler:
    """Makes one answer of the frames of a camera, for one camera and one thread::

        settler = Settler(cascade.decider)
        for frame in camera:
            finding = settler.settle(cascade.predict(frame.image_HWC), frame.captured_s)

    A finding is pooled if it has an answer, and no hint about its capture. Frames that cannot be
    pooled keep the answer of those before for `HOLD_S` seconds; then it is said why nothing can be
    judged. Another lesion, in two frames in a row whether they can be pooled or not, a pause, or a
    picture of another size begins anew. What each frame's networks said stays in `Finding.raw`, and
    its hints in `Finding.capture`, of which people are told one that does not flicker.

    Args:
        decider: of the cascade whose findings are settled.
    """

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._hint = SteadyHint()
        self._begin_anew()

    def settle(self, finding: Finding, captured_s: float) -> Finding:
        """The answer so far.

        Args:
            finding: of one frame, as `Cascade.predict` gives it.
            captured_s: when it was grabbed, in seconds of a clock that does not jump.

        Raises:
            UsageError: the time is no number, or the finding is of another cascade.
        """
        if not math.isfinite(captured_s):
            raise UsageError(f"settle: frame grabbed at {captured_s} s, expected a finite number")
        if finding.capture is not None:
            told = self._hint.told(finding.capture, captured_s)
            finding = replace(finding, capture=replace(finding.capture, told=told))
        if self._answer is not None and (
            not 0 <= captured_s - self._last_s <= HOLD_S or _size(finding) != _size(self._answer)
        ):
            self._begin_anew()
        if not _can_be_pooled(finding):
            self._follow(finding)
            return self._held(finding, captured_s)
        return self._pooled(finding, captured_s)

    @property
    def state(self) -> dict[str, Any]:
        """What the next answer rests on besides its frame, ready for JSON."""
        if self._answer is None or self._answer.pooled is None:
            return {}
        return {
            "pooled": self._answer.pooled.as_dict(),
            "probabilities": dict(self._answer.fitted or self._answer.probabilities),
            "last_s": self._last_s,
        }

    def _begin_anew(self) -> None:
        self._followed: Followed | None = None
        self._pool, self._mask = Pool(self._decider), SmoothMask()
        self._answer: Finding | None = None
        self._last_s, self._is_strange = 0.0, False

    def _pooled(self, finding: Finding, captured_s: float) -> Finding:
        view = View.of(finding)
        shift = None if self._followed is None else self._followed.shift_to(view)
        if shift is None and self._followed is not None and not self._is_strange:
            self._is_strange = True  # one bad outline is no other lesion
            return self._held(finding, captured_s)
        self._is_strange = False
        if shift is None:
            self._begin_anew()
            self._followed = Followed(view)
        else:
            self._mask.move(shift)
        self._mask.add(finding.mask_HW)
        mean, decision, pooled = self._pool.add(finding)
        size_hw = _size(finding)
        mask_HW = None if size_hw is None else self._mask.mask(size_hw)
        self._last_s = captured_s
        self._answer = replace(
            finding,
            mask_HW=mask_HW,
            probabilities=self._decider.shown(mean) if finding.fitted else mean,
            fitted=mean if finding.fitted else {},
            decision=decision,
            pooled=pooled,
        )
        return self._answer

    def _follow(self, finding: Finding) -> None:
        """Follow a frame that is not pooled, so that no answer is held over another lesion."""
        if self._followed is None or self._answer is None:
            return
        if finding.seen_SS3 is None or finding.reason is not None:
            return
        view = View.of(finding)
        shift = self._followed.shift_to(view)
        if shift is not None:
            self._is_strange = False
            self._mask.move(shift)
            size_hw = _size(self._answer)
            mask_HW = None if size_hw is None else self._mask.mask(size_hw)
            self._answer = replace(self._answer, mask_HW=mask_HW)
        elif self._followed.shows_other(view):
            if self._is_strange:
                self._begin_anew()
            else:
                self._is_strange = True
        else:  # a blurred frame tells nothing
            self._is_strange = False

    def _held(self, finding: Finding, captured_s: float) -> Finding:
        answer = self._answer
        if answer is not None and answer.pooled is not None:
            return replace(
                answer,
                raw=finding.raw,
                quality=finding.quality,
                timings_ms=finding.timings_ms,
                capture=finding.capture,
                left_out=finding.left_out,
                late_ms=finding.late_ms,
                seen_SS3=finding.seen_SS3,
                class_maps=finding.class_maps,
                pooled=replace(answer.pooled, settled=False, age_s=captured_s - self._last_s),
            )
        capture = finding.capture
        if finding.reason is None and capture is not None and capture.hints:
            return _unjudged(finding, capture.told or capture.hints[0])
        return finding


def _unjudged(finding: Finding, hint: str) -> Finding:
    """The finding of a frame that was taken so badly that nothing is said of it."""
    fine_HW, coarse_HW = (
        None if mask_HW is None else np.zeros_like(mask_HW)
        for mask_HW in (finding.mask_HW, finding.coarse_mask_HW)
    )
    return replace(
        finding,
        reason=Reason("cannot_judge", hint),
        mask_HW=fine_HW,
        coarse_mask_HW=coarse_HW,
        probabilities={},
        fitted={},
        class_maps={},
        decision=None,
        prevalence=None,
        is_prevalence_chosen=False,
    )


def _can_be_pooled(finding: Finding) -> bool:
    is_good = finding.capture is None or finding.capture.good
    is_answer = finding.reason is None and DIAGNOSIS not in finding.left_out
    return is_good and is_answer and finding.seen_SS3 is not None


def _size(finding: Finding) -> tuple[int, int] | None:
    """Rows and columns of the photograph; None for a cascade without masks."""
    mask_HW = finding.lesion_mask_HW
    return None if mask_HW is None else (mask_HW.shape[0], mask_HW.shape[1])

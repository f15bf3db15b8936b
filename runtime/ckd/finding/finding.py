"""What the cascade says of one image.

Suffixes: H rows, W columns of the image as given.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ckd.finding.answers import Answers, most_probable
from ckd.finding.capture import Capture
from ckd.finding.decision import Decision
from ckd.finding.left_out import DIAGNOSIS, left_out_shown
from ckd.finding.outcome import Reason
from ckd.finding.outline import outline_of
from ckd.finding.pooled import Pooled
from ckd.finding.sentences import NOTICE, lesion_shown, percent_shown, shown
from ckd.finding.verdict import Verdict

#: Of the JSON, whose shape is `docs/finding.schema.json`.
SCHEMA: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the cascade says of one image. The arrays are the finding's own and stay valid.

    Where a picture holds nothing to judge there is no finding: ``reason`` says why, masks are
    empty, and there are no probabilities. What the networks said all the same is ``raw``.

    Attributes:
        mask_HW: True on the lesion, in pixels of the image as given; None if the cascade has no
            such output.
        coarse_mask_HW: the coarse network's mask, likewise.
        probabilities: by label; empty if the cascade does not classify or there is no finding.
            Those of exclusive labels sum to 1; otherwise each is independent of the others. They
            hold where labels are as frequent as ``prevalence`` says.
        quality: figures that say how far to trust the rest: ``mask_agreement``, the Jaccard index
            of coarse and fine mask (two networks outlined the same lesion, so disagreement is a
            warning; absent if no lesion was outlined), and ``lesion_fraction`` of the image.
        timings_ms: wall time of "preprocess", "networks" (or each node), "postprocess", "capture"
            and "total"; live also of "waiting", from the networks until the finding of the frame
            before was shown. Reading a file is not included.
        bundle: name and first digits of the digest of the bundle that was used.
        backend: name of the backend that ran the networks.
        precision: the networks computed in it.
        raw: what the networks said, whatever was made of it: scores, acceptance and budgets of
            INT8 are about this.
        reason: why there is no finding; None if there is an answer.
        decision: what to do, by the bundle's operating point, label sets and doubts; None if there
            is no finding, or the bundle has no such sections.
        prevalence: by label, the share of photographs that the probabilities rest on; None if the
            bundle does not say, and then they are no more than scores.
        is_prevalence_chosen: it was asked for, and is not what the bundle was fitted at.
        fitted: probabilities by label at the prevalence that the bundle was fitted at, which the
            decision rests on; empty without a rule for them, or an answer.
        capture: how well the picture was taken; None if that was not judged.
        pooled: over which frames the answer was pooled; None for that of one picture. What this
            frame's networks said is in `raw`.
        left_out: what a deadline left no time for, see `ckd.finding.left_out`.
        late_ms: by how much a deadline was missed; None without one.
        signer: whose signature of the bundle was checked; None if none was.
        seen_SS3: uint8 RGB, what the networks saw; nobody may change it. None if it is not kept.
        exclusive: an image has exactly one label; otherwise it may have none.
        class_maps: by label, float32 at the network's resolution: what each place of the squashed
            photograph adds to the label's logit, so that the mean over places is the logit less a
            constant. Empty unless the bundle was exported with explanations; see
            `ckd.finding.explanation` for what they can and cannot show.
    """

    mask_HW: NDArray[np.bool_] | None
    coarse_mask_HW: NDArray[np.bool_] | None
    probabilities: Mapping[str, float]
    quality: Mapping[str, float]
    timings_ms: Mapping[str, float]
    bundle: str
    backend: str
    precision: str
    raw: Answers
    reason: Reason | None = None
    decision: Decision | None = None
    prevalence: Mapping[str, float] | None = None
    is_prevalence_chosen: bool = False
    fitted: Mapping[str, float] = field(default_factory=dict)
    capture: Capture | None = None
    pooled: Pooled | None = None
    left_out: tuple[str, ...] = ()
    late_ms: float | None = None
    signer: str | None = None
    seen_SS3: NDArray[np.uint8] | None = None
    exclusive: bool = True
    class_maps: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    @property
    def outcome(self) -> Literal["answer", "no_finding"]:
        """Whether there is an answer."""
        return "answer" if self.reason is None else "no_finding"

    @property
    def top(self) -> str | None:
        """The most probable label.

        None if the cascade does not classify or there is no finding, or if labels do not exclude
        each other and all have a probability of at most 0.5.
        """
        return most_probable(self.probabilities, self.exclusive)

    @property
    def verdict(self) -> Verdict:
        """What the answer comes to, for comparing it with another one's."""
        return Verdict.of(self.top, self.decision)

    @property
    def headline(self) -> str:
        """What is shown first: why there is no finding, or the decision.

        Without a decision ``top`` in words, or "none of ...", or that there was no time for one;
        empty if the cascade does not classify.
        """
        if self.reason is not None:
            return self.reason.shown
        if DIAGNOSIS in self.left_out:
            return shown("left_out_diagnosis")
        if self.decision is not None:
            return self.decision.headline
        return self._none_of if self.top is None else lesion_shown(self.top)

    @property
    def second(self) -> str:
        """What is shown second: ``top`` with its percentage and what that rests on.

        It is "none of ..." if no label is likely, and empty without labels.
        """
        return self._none_of if (top := self.top) is None else self.share_shown(top)

    @property
    def beneath(self) -> tuple[str, ...]:
        """What stands below, a sentence each: reasons to refer, label set, what was chosen.

        Then what a deadline left out.
        """
        lines = [] if self.decision is None else list(self.decision.beneath)
        if self.is_prevalence_chosen:
            lines.append(shown("other_prevalence"))
        return (*lines, *left_out_shown(self.left_out, self.late_ms or 0.0))

    @property
    def coaching(self) -> tuple[str, ...]:
        """For the person who holds the camera: what to do, and how settled the answer is."""
        hint = "" if self.capture is None else self.capture.shown
        settled = "" if self.pooled is None or self.reason is not None else self.pooled.shown
        return tuple(filter(None, (hint, settled)))

    @property
    def is_held(self) -> bool:
        """Whether the answer is that of frames before, as this one could not be judged."""
        return self.pooled is not None and self.pooled.is_held

    def share_shown(self, label: str) -> str:
        """The percentage of a label, and what it rests on; without that it is called a score."""
        words = {"label": lesion_shown(label), "share": percent_shown(self.probabilities[label])}
        basis = self._basis(label)
        return shown("score", **words) if basis is None else shown("probable", **words, **basis)

    @property
    def basis_shown(self) -> str:
        """What all percentages rest on, as a sentence; empty without any."""
        if not self.probabilities:
            return ""
        basis = self._basis(self.top or next(iter(self.probabilities)))
        return shown("basis_score") if basis is None else shown("basis", **basis)

    def _basis(self, label: str) -> dict[str, str] | None:
        """How frequent the target of the decision is, or without a decision the label itself."""
        if self.prevalence is None:
            return None
        target = label if self.decision is None else self.decision.target
        share = percent_shown(self.prevalence[target])
        return {"prevalence": share, "target": lesion_shown(target)}

    @property
    def _none_of(self) -> str:
        return shown("none_of", labels=", ".join(self.probabilities)) if self.probabilities else ""

    @property
    def lesion_area_px(self) -> int:
        """Lesion area in pixels of the image as given, of the mask that `mask_from` names."""
        return _area(self.lesion_mask_HW)

    @property
    def lesion_mask_HW(self) -> NDArray[np.bool_] | None:
        """The mask that `mask_from` names; None if the cascade makes none."""
        return self.coarse_mask_HW if self.mask_HW is None else self.mask_HW

    @property
    def mask_from(self) -> Literal["fine", "coarse"] | None:
        """The network that the lesion's mask comes from; None if the cascade makes none."""
        if self.mask_HW is not None:
            return "fine"
        return None if self.coarse_mask_HW is None else "coarse"

    def as_dict(self) -> dict[str, Any]:
        """All but the pixels of masks and maps, ready for JSON; see `docs/finding.schema.json`."""
        mask_HW, is_answer = self.lesion_mask_HW, self.reason is None
        raw_HW = self.raw.coarse_mask_HW if self.raw.mask_HW is None else self.raw.mask_HW
        return {
            "schema": SCHEMA,
            "outcome": self.outcome,
            "reason": None if self.reason is None else _reason(self.reason),
            "decision": None if self.decision is None else self.decision.as_dict(),
            "capture": None if self.capture is None else self.capture.as_dict(),
            "pooled": None if self.pooled is None else self.pooled.as_dict(),
            "left_out": list(self.left_out),
            "late_ms": None if self.late_ms is None else round(self.late_ms, 3),
            "size_hw": None if mask_HW is None else list(mask_HW.shape),
            "probabilities": _rounded(self.probabilities, 6) if is_answer else None,
            "prevalence": None if self.prevalence is None else _rounded(self.prevalence, 6),
            "top": self.top,
            "lesion_area_px": self.lesion_area_px,
            "mask_from": self.mask_from,
            "outline": [] if mask_HW is None else outline_of(mask_HW),
            "quality": _rounded(self.quality, 4),
            "raw": {
                "probabilities": _rounded(self.raw.probabilities, 6),
                "top": most_probable(self.raw.probabilities, self.exclusive),
                "lesion_area_px": None if raw_HW is None else _area(raw_HW),
            },
            "timings_ms": _rounded(self.timings_ms, 3),
            "bundle": self.bundle,
            "backend": self.backend,
            "precision": self.precision,
            "trust": "unsigned" if self.signer is None else "signed",
            "notice": NOTICE,
        }

    def to_json(self) -> str:
        """`as_dict` as one line of JSON."""
        return json.dumps(self.as_dict(), allow_nan=False)


def _area(mask_HW: NDArray[np.bool_] | None) -> int:
    return 0 if mask_HW is None else int(np.count_nonzero(mask_HW))


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text}


def _rounded(values: Mapping[str, float], digits: int) -> dict[str, float]:
    return {name: round(value, digits) for name, value in values.items()}

"""From the logits of a cascade to findings: masks, probabilities, outcome; one place for all.

Suffixes: H rows, W columns of the photograph; S side of the square network input in pixels.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import BundleError, EngineError
from ckd.finding.answers import Answers, answers_from_logits, quality_of
from ckd.finding.cleanup import MaskRule
from ckd.finding.content import Declaring
from ckd.finding.decision import Decider, Decision
from ckd.finding.finding import Finding
from ckd.finding.outcome import OutcomeRule, Reason, is_blank
from ckd.finding.sentences import sentence
from ckd.finding.signs import mask_signs


class NotFinite(EngineError):
    """A network gave infinity or no number: an error of this one picture, and never a finding."""


class Finder:
    """Makes findings of a bundle's logits, by the rules that the bundle declares.

    Args:
        spec: of the cascade.
        bundle: name and first digits of the digest of the bundle.
        backend: name of the backend that runs the networks.
        precision: that they compute in.
        read: gives the content of a file of the bundle; without it no section may need one.
        operating_point: to decide by, instead of the bundle's default.
        prevalence: share of some labels where the device is used; the probabilities that people
            see rest on it.

    Raises:
        BundleError: a section of the bundle is malformed, or one that is asked for is missing.
        UsageError: no such operating point, or a prevalence that cannot be.
    """

    def __init__(
        self,
        spec: Declaring,
        bundle: str,
        backend: str,
        precision: str,
        *,
        read: Callable[[str], bytes] | None = None,
        operating_point: str | None = None,
        prevalence: Mapping[str, float] | None = None,
        signer: str | None = None,
    ) -> None:
        self._spec, self._signer = spec, signer
        self._outcome, self._mask = OutcomeRule.of(spec), MaskRule.of(spec)
        self.decider = Decider(spec, read or _no_file, operating_point, prevalence)
        self._prevalence = self.decider.prevalence
        self._is_prevalence_chosen = self.decider.is_prevalence_chosen
        self._bundle, self._backend, self._precision = bundle, backend, precision

    def __call__(
        self,
        logits: Mapping[str, NDArray[Any]],
        size_hw: tuple[int, int],
        image_SS3: NDArray[np.uint8],
        left_out: tuple[str, ...] = (),
    ) -> Finding:
        """The finding of a photograph; how long it took is for the caller to say.

        Args:
            logits: outputs of the cascade by tensor name, batch axis of one included; only those
                that are there where something was left out.
            size_hw: rows and columns of the photograph.
            image_SS3: uint8 RGB, what the networks saw.
            left_out: parts of the answer that there was no time for.

        Raises:
            NotFinite: an output holds infinity or no number.
        """
        outputs = self._spec.outputs
        if left_out:
            outputs = outputs.renamed(lambda name: name if name in logits else None)
        for name in outputs.names():
            if not np.isfinite(logits[name]).all():
                raise NotFinite(f"{sentence('not_finite')} ({name})")
        raw = answers_from_logits(self._spec, logits, *size_hw, outputs=outputs)
        given = self._delivered(raw)
        reason = self._reason(given, logits, image_SS3, is_whole=not left_out)
        decision: Decision | None = None
        fitted: dict[str, float] | None = None
        if reason is not None:
            given = _emptied(raw)
        quality = quality_of(given, self._spec.image_size)
        if reason is None and raw.probabilities:
            fitted = self.decider.probabilities(logits, self._precision)
        if fitted is not None:
            decision = self.decider.decision(fitted, quality, raw.features_D)
            given = replace(given, probabilities=self.decider.shown(fitted))
        return Finding(
            mask_HW=given.mask_HW,
            coarse_mask_HW=given.coarse_mask_HW,
            probabilities=given.probabilities,
            class_maps=given.class_maps,
            exclusive=self._spec.outputs.exclusive,
            quality=quality,
            timings_ms={},
            raw=raw,
            reason=reason,
            decision=decision,
            prevalence=self._prevalence if given.probabilities else None,
            is_prevalence_chosen=bool(given.probabilities) and self._is_prevalence_chosen,
            fitted=fitted or {},
            left_out=left_out,
            signer=self._signer,
            seen_SS3=image_SS3,
            bundle=self._bundle,
            backend=self._backend,
            precision=self._precision,
        )

    def _reason(
        self,
        given: Answers,
        logits: Mapping[str, NDArray[Any]],
        image_SS3: NDArray[np.uint8],
        *,
        is_whole: bool,
    ) -> Reason | None:
        if is_blank(image_SS3):
            return Reason("blank")
        if not self._outcome.scores:
            return None
        if not is_whole:  # without the fine mask no score can be told
            coarse_HW = given.coarse_mask_HW
            return None if coarse_HW is None or coarse_HW.any() else Reason("no_lesion")
        is_outlined = given.mask_HW is not None and bool(given.mask_HW.any())
        signs = mask_signs(self._spec.outputs, logits)
        return self._outcome.reason(signs, is_outlined=is_outlined)

    def _delivered(self, raw: Answers) -> Answers:
        fine, coarse = (
            None if mask_HW is None else self._mask.apply(mask_HW)
            for mask_HW in (raw.mask_HW, raw.coarse_mask_HW)
        )
        return Answers(fine, coarse, raw.probabilities, raw.class_maps, raw.features_D)


def _no_file(name: str) -> bytes:
    raise BundleError(f"{name}: the files of this bundle cannot be read here")


def _emptied(raw: Answers) -> Answers:
    """Answers that say nothing: masks without a pixel, and neither probabilities nor maps."""
    fine, coarse = (
        None if mask_HW is None else np.zeros_like(mask_HW)
        for mask_HW in (raw.mask_HW, raw.coarse_mask_HW)
    )
    return Answers(fine, coarse, {}, {})

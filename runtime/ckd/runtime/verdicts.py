"""What the acceptance cases come to: their labels, decisions and referrals.

An engine may keep within every tolerance and still decide otherwise, where a number lies near a
threshold; and a bundle whose labels or sections were changed decides otherwise with the same
networks. So the verdict on each case is recorded, and compared as far as it is firm.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError
from ckd.contract.parsing import parse_json
from ckd.contract.spec import CascadeSpec
from ckd.finding.answers import Answers, answers_from_logits, most_probable, quality_of
from ckd.finding.cleanup import MaskRule
from ckd.finding.decision import Decider
from ckd.finding.verdict import Steps, Verdict, firm_parts

#: A bundle without sections has labels only, and an older one no such file.
VERDICTS: Final = "acceptance/verdicts.json"


def read_verdicts(bundle: Bundle, count: int) -> list[Verdict] | None:
    """The verdict on each case; None for a bundle that was made before they were recorded.

    Raises:
        BundleError: they cannot be read, or are not ``count``.
    """
    if VERDICTS not in bundle.files:
        return None
    try:
        verdicts = [Verdict(**parts) for parts in parse_json(bundle.read(VERDICTS))]
        if len(verdicts) != count:
            raise ValueError(f"{len(verdicts)} verdicts of {count} cases")
    except (ValueError, TypeError) as error:
        raise BundleError(f"{bundle.path}: unreadable verdicts of cases ({error})") from error
    return verdicts


class CaseJudge:
    """What the outputs of a case come to, by the rules of its bundle.

    Whether there is a finding at all plays no part: cases may be pictures of nothing.

    Args:
        spec: of the bundle that declares the rules.
        read: gives the content of a file of the bundle.
        precision: that the outputs were computed in.
        steps: how far numbers of two engines in that precision may lie apart. A part of a verdict
            is firm if no number is nearer to what decides it than three of them.
    """

    def __init__(
        self, spec: CascadeSpec, read: Callable[[str], bytes], precision: str, steps: Steps
    ) -> None:
        self.spec = spec
        self._precision, self._steps = precision, steps
        self._decider, self._clean_up = Decider(spec, read), MaskRule.of(spec)

    def answers(self, outputs: Mapping[str, NDArray[Any]]) -> Answers:
        """Masks at network size, and probabilities."""
        side = self.spec.image_size
        return answers_from_logits(self.spec, outputs, side, side)

    def verdict(self, outputs: Mapping[str, NDArray[Any]]) -> tuple[Verdict, tuple[str, ...]]:
        """The verdict, and which of its parts are firm.

        Args:
            outputs: by tensor name, batch axis of one included.
        """
        answers, decider = self.answers(outputs), self._decider
        exclusive = self.spec.outputs.exclusive
        fine, coarse = (
            None if mask_HW is None else self._clean_up.apply(mask_HW)
            for mask_HW in (answers.mask_HW, answers.coarse_mask_HW)
        )
        quality = quality_of(Answers(fine, coarse, {}, {}), self.spec.image_size)
        raw = answers.probabilities
        fitted = decider.probabilities(outputs, self._precision)
        shown = raw if fitted is None else fitted
        decision = decider.decision(shown, quality, answers.features_D)
        firm = firm_parts(
            decider, raw, quality, answers.features_D, self._steps, self._precision,
            exclusive=exclusive,
        )  # fmt: skip
        return Verdict.of(most_probable(shown, exclusive), decision), firm

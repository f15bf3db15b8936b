"""From the logits of a cascade to what a person sees."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.finding.answers import (
        Answers,
        AnswerSource,
        answers_from_logits,
        most_probable,
        quality_of,
    )
    from ckd.finding.capture import HINTS, Capture
    from ckd.finding.cleanup import MaskRule
    from ckd.finding.content import Declaring, SectionContent
    from ckd.finding.decision import Decider, Decision
    from ckd.finding.doubts import FEATURE_FILE, Doubts
    from ckd.finding.explanation import (
        FULL_LOG_ODDS,
        colour_over_skin,
        draw_explanation,
        draw_heat,
        evidence,
    )
    from ckd.finding.feature_space import FeatureSpace
    from ckd.finding.files import png_of, save_finding, write_json, write_png
    from ckd.finding.finder import Finder, NotFinite
    from ckd.finding.finding import Finding
    from ckd.finding.label_sets import LabelSets, conformal_rank
    from ckd.finding.left_out import COARSE_MASK, DIAGNOSIS, FINE_MASK
    from ckd.finding.logits import class_probabilities, enlarge_logits, logit, mask_from_logits
    from ckd.finding.operating_points import (
        NAMES,
        OperatingPoint,
        OperatingPoints,
    )
    from ckd.finding.outcome import (
        FITTED_CODES,
        LinearScore,
        OutcomeRule,
        Reason,
        is_blank,
        is_dark,
        is_even,
    )
    from ckd.finding.outline import box_of, mask_on_grid
    from ckd.finding.overlay import (
        COARSE_RGB,
        FINE_RGB,
        draw_border,
        draw_caption,
        draw_overlay,
        drawable,
        wrapped,
    )
    from ckd.finding.pooled import Pooled
    from ckd.finding.probabilities import PRECISIONS, SECTION, ProbabilityRule
    from ckd.finding.promises import PointPromise, Promises
    from ckd.finding.sentences import NOTICE, lesion_shown, percent_shown, shown
    from ckd.finding.signs import mask_signs
    from ckd.finding.verdict import PARTS, Steps, Verdict, firm_parts
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.finding.answers": (
                "AnswerSource Answers answers_from_logits most_probable quality_of"
            ),
            "ckd.finding.capture": "Capture HINTS",
            "ckd.finding.cleanup": "MaskRule",
            "ckd.finding.content": "Declaring SectionContent",
            "ckd.finding.decision": "Decider Decision",
            "ckd.finding.doubts": "Doubts FEATURE_FILE",
            "ckd.finding.explanation": (
                "FULL_LOG_ODDS colour_over_skin draw_explanation draw_heat evidence"
            ),
            "ckd.finding.feature_space": "FeatureSpace",
            "ckd.finding.files": "png_of save_finding write_json write_png",
            "ckd.finding.finder": "Finder NotFinite",
            "ckd.finding.finding": "Finding",
            "ckd.finding.label_sets": "LabelSets conformal_rank",
            "ckd.finding.left_out": "COARSE_MASK DIAGNOSIS FINE_MASK",
            "ckd.finding.logits": "class_probabilities enlarge_logits logit mask_from_logits",
            "ckd.finding.operating_points": ("NAMES OperatingPoint OperatingPoints"),
            "ckd.finding.outcome": (
                "FITTED_CODES LinearScore OutcomeRule Reason is_blank is_dark is_even"
            ),
            "ckd.finding.outline": "box_of mask_on_grid",
            "ckd.finding.overlay": (
                "COARSE_RGB FINE_RGB draw_border draw_caption draw_overlay drawable wrapped"
            ),
            "ckd.finding.pooled": "Pooled",
            "ckd.finding.probabilities": "PRECISIONS ProbabilityRule SECTION",
            "ckd.finding.promises": "PointPromise Promises",
            "ckd.finding.sentences": "NOTICE lesion_shown percent_shown shown",
            "ckd.finding.signs": "mask_signs",
            "ckd.finding.verdict": "PARTS Steps Verdict firm_parts",
        },
    )

__all__ = [
    "COARSE_MASK",
    "COARSE_RGB",
    "DIAGNOSIS",
    "FEATURE_FILE",
    "FINE_MASK",
    "FINE_RGB",
    "FITTED_CODES",
    "FULL_LOG_ODDS",
    "HINTS",
    "NAMES",
    "NOTICE",
    "PARTS",
    "PRECISIONS",
    "SECTION",
    "AnswerSource",
    "Answers",
    "Capture",
    "Decider",
    "Decision",
    "Declaring",
    "Doubts",
    "FeatureSpace",
    "Finder",
    "Finding",
    "LabelSets",
    "LinearScore",
    "MaskRule",
    "NotFinite",
    "OperatingPoint",
    "OperatingPoints",
    "OutcomeRule",
    "PointPromise",
    "Pooled",
    "ProbabilityRule",
    "Promises",
    "Reason",
    "SectionContent",
    "Steps",
    "Verdict",
    "answers_from_logits",
    "box_of",
    "class_probabilities",
    "colour_over_skin",
    "conformal_rank",
    "draw_border",
    "draw_caption",
    "draw_explanation",
    "draw_heat",
    "draw_overlay",
    "drawable",
    "enlarge_logits",
    "evidence",
    "firm_parts",
    "is_blank",
    "is_dark",
    "is_even",
    "lesion_shown",
    "logit",
    "mask_from_logits",
    "mask_on_grid",
    "mask_signs",
    "most_probable",
    "percent_shown",
    "png_of",
    "quality_of",
    "save_finding",
    "shown",
    "wrapped",
    "write_json",
    "write_png",
]

"""What a trained system is worth: scores, pictures, and what speaks for its answers."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.evaluation.embedding import MIN_IMAGES
    from ckd.train.evaluation.folder import TRUTH_RGB
    from ckd.train.evaluation.held_out import ANSWERS, NO_LABEL, Collected, HeldOutAnswers
    from ckd.train.evaluation.judge import Judge
    from ckd.train.evaluation.mask_threshold import (
        MASK_THRESHOLD,
        TEACHER_MASK_THRESHOLD,
        choose_mask_threshold,
        load_mask_threshold,
        subjects,
    )
    from ckd.train.evaluation.plots import COLOURS, GREY, Tile, contact_sheet, save
    from ckd.train.evaluation.robustness import checked_kinds, measure_robustness, spread
    from ckd.train.evaluation.robustness_folder import write_robustness
    from ckd.train.evaluation.robustness_report import (
        robustness_dict,
        robustness_terminal,
        summaries,
    )
    from ckd.train.evaluation.scoring import PlainImages, score_batch, score_image, scored_outputs
    from ckd.train.evaluation.subgroups import measure_groups, write_groups
    from ckd.train.evaluation.summary import Evaluation, Views, summarised
    from ckd.train.evaluation.suspects_sheet import write_suspects
    from ckd.train.evaluation.views import image_logits
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.evaluation.embedding": "MIN_IMAGES",
            "ckd.train.evaluation.folder": "TRUTH_RGB",
            "ckd.train.evaluation.held_out": "ANSWERS Collected HeldOutAnswers NO_LABEL",
            "ckd.train.evaluation.judge": "Judge",
            "ckd.train.evaluation.mask_threshold": (
                "MASK_THRESHOLD TEACHER_MASK_THRESHOLD choose_mask_threshold "
                "load_mask_threshold subjects"
            ),
            "ckd.train.evaluation.plots": "COLOURS GREY Tile contact_sheet save",
            "ckd.train.evaluation.robustness": "checked_kinds measure_robustness spread",
            "ckd.train.evaluation.robustness_folder": "write_robustness",
            "ckd.train.evaluation.robustness_report": (
                "robustness_dict robustness_terminal summaries"
            ),
            "ckd.train.evaluation.scoring": "PlainImages score_batch score_image scored_outputs",
            "ckd.train.evaluation.subgroups": "measure_groups write_groups",
            "ckd.train.evaluation.summary": "Evaluation Views summarised",
            "ckd.train.evaluation.suspects_sheet": "write_suspects",
            "ckd.train.evaluation.views": "image_logits",
        },
    )

__all__ = [
    "ANSWERS",
    "COLOURS",
    "GREY",
    "MASK_THRESHOLD",
    "MIN_IMAGES",
    "NO_LABEL",
    "TEACHER_MASK_THRESHOLD",
    "TRUTH_RGB",
    "Collected",
    "Evaluation",
    "HeldOutAnswers",
    "Judge",
    "PlainImages",
    "Tile",
    "Views",
    "checked_kinds",
    "choose_mask_threshold",
    "contact_sheet",
    "image_logits",
    "load_mask_threshold",
    "measure_groups",
    "measure_robustness",
    "robustness_dict",
    "robustness_terminal",
    "save",
    "score_batch",
    "score_image",
    "scored_outputs",
    "spread",
    "subjects",
    "summaries",
    "summarised",
    "write_groups",
    "write_robustness",
    "write_suspects",
]

"""How right the answers are: as the official ISIC scorer counts, and how far borders lie apart."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.scores.boundary import boundary_distance
    from ckd.scores.estimates import (
        LEAST,
        NOT_ASSESSED,
        SHARES,
        Answered,
        Estimate,
        Figure,
        estimate_text,
    )
    from ckd.scores.groups import GroupScore, group_scores, group_table, groups_text, markdown_table
    from ckd.scores.images import (
        ImageScore,
        binary_label_loss,
        diagnosed,
        label_loss,
        label_scores,
        mask_scores,
        score_against,
        score_answers,
        score_finding,
    )
    from ckd.scores.metrics import (
        ClassificationScores,
        SegmentationScores,
        bootstrap_interval,
        mean_and_deviation,
    )
    from ckd.scores.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve
    from ckd.scores.reliability import (
        Probabilities,
        brier_score,
        calibration_error,
        expected_calibration_error,
        log_loss,
        reliability_bins,
        top_label,
    )
    from ckd.scores.reliability_text import (
        CALIBRATION_WORDS,
        Calibrated,
        Said,
        calibration_table,
        mended_text,
    )
    from ckd.scores.shares import share_interval
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.scores.boundary": "boundary_distance",
            "ckd.scores.estimates": (
                "Answered Estimate Figure LEAST NOT_ASSESSED SHARES estimate_text"
            ),
            "ckd.scores.groups": "GroupScore group_scores group_table groups_text markdown_table",
            "ckd.scores.images": (
                "ImageScore binary_label_loss diagnosed label_loss label_scores mask_scores "
                "score_against score_answers score_finding"
            ),
            "ckd.scores.metrics": (
                "ClassificationScores SegmentationScores bootstrap_interval mean_and_deviation"
            ),
            "ckd.scores.ranking": "average_precision precision_recall_curve roc_auc roc_curve",
            "ckd.scores.reliability": (
                "Probabilities brier_score calibration_error expected_calibration_error log_loss "
                "reliability_bins top_label"
            ),
            "ckd.scores.reliability_text": (
                "CALIBRATION_WORDS Calibrated Said calibration_table mended_text"
            ),
            "ckd.scores.shares": "share_interval",
        },
    )

__all__ = [
    "CALIBRATION_WORDS",
    "LEAST",
    "NOT_ASSESSED",
    "SHARES",
    "Answered",
    "Calibrated",
    "ClassificationScores",
    "Estimate",
    "Figure",
    "GroupScore",
    "ImageScore",
    "Probabilities",
    "Said",
    "SegmentationScores",
    "average_precision",
    "binary_label_loss",
    "bootstrap_interval",
    "boundary_distance",
    "brier_score",
    "calibration_error",
    "calibration_table",
    "diagnosed",
    "estimate_text",
    "expected_calibration_error",
    "group_scores",
    "group_table",
    "groups_text",
    "label_loss",
    "label_scores",
    "log_loss",
    "markdown_table",
    "mask_scores",
    "mean_and_deviation",
    "mended_text",
    "precision_recall_curve",
    "reliability_bins",
    "roc_auc",
    "roc_curve",
    "score_against",
    "score_answers",
    "score_finding",
    "share_interval",
    "top_label",
]

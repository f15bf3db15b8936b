"""How right the answers are: as the official ISIC scorer counts, and how far borders lie apart."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.scores.boundary import boundary_distance
    from ckd.scores.images import (
        ImageScore,
        binary_label_loss,
        diagnosed,
        label_loss,
        label_scores,
        mask_scores,
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
        brier_score,
        calibration_error,
        log_loss,
        reliability_bins,
        top_label,
    )
    from ckd.scores.shares import share_interval
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.scores.boundary": "boundary_distance",
            "ckd.scores.images": (
                "ImageScore binary_label_loss diagnosed label_loss label_scores mask_scores "
                "score_answers score_finding"
            ),
            "ckd.scores.metrics": (
                "ClassificationScores SegmentationScores bootstrap_interval mean_and_deviation"
            ),
            "ckd.scores.ranking": "average_precision precision_recall_curve roc_auc roc_curve",
            "ckd.scores.reliability": (
                "brier_score calibration_error log_loss reliability_bins top_label"
            ),
            "ckd.scores.shares": "share_interval",
        },
    )

__all__ = [
    "ClassificationScores",
    "ImageScore",
    "SegmentationScores",
    "average_precision",
    "binary_label_loss",
    "bootstrap_interval",
    "boundary_distance",
    "brier_score",
    "calibration_error",
    "diagnosed",
    "label_loss",
    "label_scores",
    "log_loss",
    "mask_scores",
    "mean_and_deviation",
    "precision_recall_curve",
    "reliability_bins",
    "roc_auc",
    "roc_curve",
    "score_answers",
    "score_finding",
    "share_interval",
    "top_label",
]

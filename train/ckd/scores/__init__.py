"""How right the answers are, as the official ISIC scorer counts."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.scores.images import (
        Answering,
        ImageScore,
        binary_label_loss,
        diagnosed,
        label_loss,
        label_scores,
        mask_scores,
        score_finding,
    )
    from ckd.scores.metrics import ClassificationScores, SegmentationScores, bootstrap_interval
    from ckd.scores.ranking import average_precision, precision_recall_curve, roc_auc, roc_curve
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.scores.images": (
                "Answering ImageScore binary_label_loss diagnosed label_loss label_scores "
                "mask_scores score_finding"
            ),
            "ckd.scores.metrics": "ClassificationScores SegmentationScores bootstrap_interval",
            "ckd.scores.ranking": "average_precision precision_recall_curve roc_auc roc_curve",
        },
    )

__all__ = [
    "Answering",
    "ClassificationScores",
    "ImageScore",
    "SegmentationScores",
    "average_precision",
    "binary_label_loss",
    "bootstrap_interval",
    "diagnosed",
    "label_loss",
    "label_scores",
    "mask_scores",
    "precision_recall_curve",
    "roc_auc",
    "roc_curve",
    "score_finding",
]

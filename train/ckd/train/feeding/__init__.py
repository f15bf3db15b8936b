"""What a training loop is fed: images of a set, changed at random, batch by batch."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.train.feeding.augment import multi_scale_crop
    from ckd.train.feeding.augmentation import Augmentation
    from ckd.train.feeding.dataset import (
        EpochBatches,
        TrainingViews,
        drop_unreadable,
        training_loader,
    )
    from ckd.train.feeding.mixing import mixed
    from ckd.train.feeding.workers import workers_named
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.train.feeding.augment": "multi_scale_crop",
            "ckd.train.feeding.augmentation": "Augmentation",
            "ckd.train.feeding.dataset": (
                "EpochBatches TrainingViews drop_unreadable training_loader"
            ),
            "ckd.train.feeding.mixing": "mixed",
            "ckd.train.feeding.workers": "workers_named",
        },
    )

__all__ = [
    "Augmentation",
    "EpochBatches",
    "TrainingViews",
    "drop_unreadable",
    "mixed",
    "multi_scale_crop",
    "training_loader",
    "workers_named",
]

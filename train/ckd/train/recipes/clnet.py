"""Recipe of CLNet."""

from ckd.train.feeding.augmentation import Augmentation
from ckd.train.losses import LabelLoss, MaskLoss
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Schedule, Stage
from ckd.train.systems.clnet import ClNet


def clnet() -> Recipe:
    """CLNet, designed by us after the paper: ResNet50 and ResUNet, 90.5 M parameters, 21 GMAC.

    Its scores are no reproduction: the authors published no code, and the paper does not give
    levels, widths, batch size, loss weights or how an epoch is chosen. The optimiser, the schedule,
    200 epochs, flips as the only augmentation and the kinds of losses are from the paper. Batches
    of 16, losses of equal weight, ImageNet weights for both encoders and the epoch with the best
    mean of Jaccard and mean AUC are our choices.

    The authors report on ISIC 2017 test a mean AUC of 0.897 with ResNet50 and the plain U-Net, and
    0.885 with Inception V3 and the plain U-Net. It has not been trained here yet. The latter
    (82.5 M parameters, 65 GMAC) is --set system.cls_backbone=inception_v3
    --set system.seg_backbone=unet.
    """
    return Recipe(
        name="clnet",
        system=ClNet(),
        image_size=224,
        stages=(
            Stage(
                name="joint",
                nodes=("cls_encoder", "seg_encoder", "fusion"),
                losses=(
                    LabelLoss(output="logits", focal=True, class_weighted=False),
                    MaskLoss(output="mask_logits", form="plain"),
                ),
                epochs=200,
                batch_size=16,
                weight_decay=5e-4,
                clip_norm=None,
                schedule=Schedule(kind="poly", exponent=0.96),
                augmentation=Augmentation(
                    rotate_deg=0.0, shear_deg=0.0, scale=(1.0, 1.0), shift=(0.0, 0.0), colour="none"
                ),
                monitor="jaccard_and_auc",
            ),
        ),
    )

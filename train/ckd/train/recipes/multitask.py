"""Recipe of the multi-task net."""

from ckd.train.feeding.augmentation import Augmentation
from ckd.train.losses import BinaryLoss, MaskLoss
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Schedule, Stage
from ckd.train.systems.multitask import MultiTask


def multitask() -> Recipe:
    """The GoogLeNet multi-task net: 224 px, 11.7 M parameters, 4.9 GMAC, one stage.

    It is designed by us and no reproduction: only the abstract of Yang et al. 2017 (arXiv
    1703.01025) was available. The abstract reports, for 2000 training images and the 150
    *validation* images of ISIC 2017, Jaccard 0.724, AUC 0.880 for melanoma and 0.972 for seborrheic
    keratosis (mean 0.926). It has not been trained here yet. Cross-entropy and Dice of the mask and
    the cross-entropies of the two questions have equal weights; in each question positives weigh as
    much as negatives.

    Augmentation turns images by any angle, not only by quarter turns, and fills the corners with
    black. The last epoch is kept, hence the cosine schedule, so that the validation images stay
    unseen until they are scored. Weight decay and gradient clipping are those of our other recipes.
    """
    return Recipe(
        name="multitask",
        system=MultiTask(),
        image_size=224,
        stages=(
            Stage(
                name="net",
                nodes=("net",),
                losses=(
                    MaskLoss(output="mask_logits", form="plain", pixel="cross_entropy"),
                    BinaryLoss(output="logits"),
                ),
                epochs=100,
                batch_size=32,
                schedule=Schedule(kind="cosine"),
                augmentation=Augmentation(
                    shear_deg=0.0, scale=(0.8, 1.25), shift=(0.0, 0.0), colour="none"
                ),
                select="last",
            ),
        ),
    )

"""Recipe of the multi-task net."""

from ckd.train.feeding.augmentation import Augmentation
from ckd.train.losses import BinaryLoss, MaskLoss
from ckd.train.recipes.recipe import Recipe, Schedule, Stage
from ckd.train.systems.multitask import MultiTask


def multitask() -> Recipe:
    """The GoogLeNet multi-task net: 224 px, 11.7 M parameters, 4.9 GMAC, one stage.

    Design by us: of Yang et al. 2017 (arXiv 1703.01025) only the abstract is at hand, so this is no
    reproduction. It reports, for 2000 training images and the 150 *validation* images of ISIC
    2017, Jaccard 0.724, AUC 0.880 for melanoma and 0.972 for seborrheic keratosis (mean 0.926).
    Not yet trained here. Cross-entropy and Dice of the mask and the two questions' cross-entropies
    weigh the same; of each question positives weigh as much as negatives.

    Augmentation turns by any angle rather than by quarter turns, corners black. The last epoch is
    kept, hence the cosine schedule, so that the validation images stay unseen until they are
    scored. Weight decay and gradient clipping are those of our other recipes.
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

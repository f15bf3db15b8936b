"""Recipes in which several trainings of one network end in one network, and their controls."""

from collections.abc import Sequence
from dataclasses import replace

from ckd.train.losses import LabelLoss, MaskLoss, SoftLabels, SoftMask
from ckd.train.recipes.ckdnet import ckdnet_mobile
from ckd.train.recipes.recipe import AnyStage, Recipe
from ckd.train.recipes.soup import Soup
from ckd.train.recipes.stage import Stage
from ckd.train.systems.members import MEMBERS
from ckd.train.systems.plain import Plain

#: Seeds of the members, and of the students that they teach.
MEMBER_SEEDS = (0, 1, 2)
STUDENT_SEEDS = (10, 11)


def ckdnet_mobile_taught() -> Recipe:
    """ckdnet-mobile by five trainings of each network: three members teach two students.

    The networks are those of ckdnet-mobile, and take the same time on a device. Of each network,
    first the three members are trained as in ckdnet-mobile, with different seeds; their average
    ("..._soup") is kept for comparison. Then two students learn from the averaged answers of the
    members alone, on the same strongly changed views (Beyer et al. 2022); the classifier's are also
    mixed in pairs (mixup). The average of the students' weights is the network that the next one is
    trained behind. Training takes about five times as long as ckdnet-mobile.
    """
    mobile = ckdnet_mobile()
    stages: list[AnyStage] = []
    for stage in mobile.trained:
        stages += taught(stage)
    return replace(mobile, name="ckdnet-mobile-taught", stages=tuple(stages))


def plain_mobile() -> Recipe:
    """A classifier and a U-Net on MobileNetV2 that know nothing of each other.

    Size, epochs and views of the images are those of ckdnet-mobile, with which this is to be
    compared: it shows what guidance is worth.
    """
    mobile = ckdnet_mobile()
    seg = replace(mobile.stage("seg"), nodes=("seg",))
    return replace(mobile, name="plain-mobile", system=Plain(), stages=(mobile.stage("cls"), seg))


def taught(
    stage: Stage,
    members: Sequence[int] = MEMBER_SEEDS,
    students: Sequence[int] = STUDENT_SEEDS,
) -> tuple[AnyStage, ...]:
    """Stages that end in one network in place of a stage that trains it once.

    Args:
        stage: with one loss, of labels or of masks.
        members: seeds.
        students: seeds.

    Returns:
        The members, their soup, the students, and the students' soup, which has the name of
        ``stage``.
    """
    name, (loss,) = stage.name, stage.losses
    trained = tuple(replace(stage, name=f"{name}_member{seed}", seed=seed) for seed in members)
    names = tuple(member.name for member in trained)
    student = replace(stage, taught_by=names, epochs=-(-3 * stage.epochs // 2))
    if isinstance(loss, LabelLoss):
        soft = SoftLabels(student=loss.output, teacher=MEMBERS + loss.output, temperature=1.5)
        student = replace(student, losses=(soft,), mixup=0.4)
    else:
        assert isinstance(loss, MaskLoss)
        student = replace(
            student,
            losses=(SoftMask(student=loss.output, teacher=MEMBERS + loss.output),),
        )
    pupils = tuple(replace(student, name=f"{name}_student{seed}", seed=seed) for seed in students)
    return (
        *trained,
        Soup(name=f"{name}_soup", nodes=stage.nodes, of=names),
        *pupils,
        Soup(name=name, nodes=stage.nodes, of=tuple(pupil.name for pupil in pupils)),
    )

"""Recipe of a small CKDNet that a larger one teaches."""

from dataclasses import replace
from typing import Literal

from ckd.train.losses import (
    AttentionTransfer,
    LabelLoss,
    Loss,
    MaskLoss,
    Relation,
    SoftLabels,
    SoftMask,
)
from ckd.train.recipes.ckdnet import ckdnet_mobile
from ckd.train.recipes.recipe import Recipe
from ckd.train.recipes.stage import Stage
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.distilled import DistilledCkdNet
from ckd.train.systems.rewrite import TEACHER


def ckdnet_mobile_distilled() -> Recipe:
    """ckdnet-mobile, taught by a CKDNet of twice its widths (9.2 M parameters, 2.5 GMAC).

    The teacher's three networks are trained like the student's. Then each network of the student
    learns from the truth and from its counterpart in the teacher: the coarse network from masks and
    attention (gates), the classifier from diagnoses, relations between images and attention
    (means), the fine network from fine masks. The weights of these terms are guesses that make each
    term about as large as the loss of the truth. Trained once, on ISIC 2017, it outlined as well as
    ckdnet-mobile and diagnosed no better; the figures are in benchmarks/results.
    """
    mobile = ckdnet_mobile()
    student = mobile.system
    assert isinstance(student, CkdNet)
    # Twice the widths on the same encoders. A GPU can train a teacher on ResNet101.
    wide = replace(
        student,
        rootseg_width=96,
        rootseg_low_width=48,
        entangle_widths=(48, 64, 128, 256),
        decoder_widths=(128, 96, 64, 32, 16),
    )
    taught = {
        "rootseg": (
            SoftMask(student="coarse_logits", teacher=TEACHER + "coarse_logits"),
            _attention("gate"),
        ),
        "cls": (
            SoftLabels(student="logits", teacher=TEACHER + "logits", temperature=2.0, weight=0.5),
            _relation("distances", 10.0),
            _relation("angles", 20.0),
            _attention("mean"),
        ),
        "seg": (SoftMask(student="mask_logits", teacher=TEACHER + "mask_logits"),),
    }
    return replace(
        mobile,
        name="ckdnet-mobile-distilled",
        system=DistilledCkdNet(teacher=wide, student=student),
        stages=(
            *(_for_teacher(stage) for stage in mobile.trained),
            *(replace(s, losses=(*s.losses, *taught[s.name])) for s in mobile.trained),
        ),
    )


def _for_teacher(stage: Stage) -> Stage:
    """The same stage for the teacher's nodes and tensors."""
    return replace(
        stage,
        name=TEACHER + stage.name,
        nodes=tuple(TEACHER + name for name in stage.nodes),
        losses=tuple(map(_of_teacher, stage.losses)),
    )


def _of_teacher(loss: Loss) -> Loss:
    assert isinstance(loss, MaskLoss | LabelLoss)
    return replace(loss, output=TEACHER + loss.output)


def _attention(stem: str) -> AttentionTransfer:
    levels = (f"{stem}{level}" for level in (1, 2, 3, 4))
    return AttentionTransfer(pairs=tuple((name, TEACHER + name) for name in levels))


def _relation(of: Literal["distances", "angles"], weight: float) -> Relation:
    return Relation(
        name=of, of=of, student="features", teacher=TEACHER + "features", weight=weight
    )  # fmt: skip

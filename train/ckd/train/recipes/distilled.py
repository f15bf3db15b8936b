"""Recipe of a small CKDNet that a larger one teaches."""

from dataclasses import replace

from ckd.train.config import Recipe, Stage
from ckd.train.losses import LabelLoss, MaskLoss
from ckd.train.recipes.ckdnet import ckdnet_mobile
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.distilled import DistilledCkdNet
from ckd.train.systems.graph import TEACHER

#: Twice the student's widths, on the same encoders; a GPU can train one on ResNet101.
WIDE = CkdNet(
    backbone="mobilenet_v2",
    rootseg_width=96,
    rootseg_low_width=48,
    rootseg_dropout=0.1,
    stem_bn="imagenet",
    cls_dropout=0.2,
    entangle_widths=(48, 64, 128, 256),
    decoder_widths=(128, 96, 64, 32, 16),
    decoder_dropout=0.1,
)


def ckdnet_mobile_distilled() -> Recipe:
    """The shapes of ckdnet-mobile, taught by a CKDNet of twice its widths."""
    mobile = ckdnet_mobile()
    student = mobile.system
    assert isinstance(student, CkdNet)
    return replace(
        mobile,
        name="ckdnet-mobile-distilled",
        system=DistilledCkdNet(teacher=WIDE, student=student),
        stages=(*map(_for_teacher, mobile.stages), *mobile.stages),
    )


def _for_teacher(stage: Stage) -> Stage:
    """The same stage for the teacher's nodes and tensors."""
    return replace(
        stage,
        name=TEACHER + stage.name,
        nodes=tuple(TEACHER + name for name in stage.nodes),
        losses=tuple(
            replace(loss, output=TEACHER + loss.output)
            for loss in stage.losses
            if isinstance(loss, MaskLoss | LabelLoss)
        ),
    )

"""CLNet (Zhang et al., ISBI 2022): two encoders whose maps are fused for both tasks.

    image ─┬─► cls_encoder ──c0..c4──► fusion ─┬─► logits
           └─► seg_encoder ──s0..s4────►       └─► mask_logits

The authors published no code, and the paper does not give the levels, widths and several numbers.
This is a design by us after the paper; its scores are not a reproduction.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, PositiveInt

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.encoder import build_encoder
from ckd.train.networks.fusion import Fusion, FusionEncoder
from ckd.train.networks.pretrained import Weights
from ckd.train.networks.unet import unet_encoder
from ckd.train.settings import STRICT
from ckd.train.systems.backbones import AnyBackboneName, UNetOrBackboneName
from ckd.train.systems.graph import Node, System

_OF_CLS = tuple(f"c{level}" for level in range(5))
_OF_SEG = tuple(f"s{level}" for level in range(5))

#: Inception V3 runs out of pixels to convolve in smaller images.
_MIN_INCEPTION_PX = 75


@dataclass(frozen=True, slots=True, kw_only=True)
class ClNet:
    """Shape of a CLNet.

    ``cls_backbone``: the paper uses ResNet50 and Inception V3. ``seg_backbone``: "resnet50" makes
    the paper's ResUNet, "unet" its plain U-Net. ``widths`` are those of the fusion modules, of the
    decoder and of the plain U-Net's encoder. The paper gives no widths; the defaults are those of
    U-Net, so that its "decoder as in U-Net" is true literally.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "design by us after CLNet (Zhang et al. 2022), no reproduction"

    kind: Literal["clnet"] = "clnet"
    cls_backbone: AnyBackboneName = "resnet50"
    seg_backbone: UNetOrBackboneName = "resnet50"
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (
        64, 128, 256, 512, 1024,
    )  # fmt: skip

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """The system, its encoders initialised with ``weights`` (see `build_encoder`).

        The plain U-Net's encoder is always initialised at random.

        Raises:
            UsageError: the image is too small for Inception V3.
        """
        if self.cls_backbone == "inception_v3" and image_size < _MIN_INCEPTION_PX:
            raise UsageError(
                f"inception_v3 takes images of {_MIN_INCEPTION_PX} px or more, got {image_size}; "
                "try --set image_size=96"
            )
        cls = build_encoder(self.cls_backbone, weights)
        if self.seg_backbone == "unet":
            seg = unet_encoder(self.widths)
        else:
            seg = build_encoder(self.seg_backbone, weights)
        cls_encoder = FusionEncoder(cls, seg.channels, self.widths)
        seg_encoder = FusionEncoder(seg, cls.channels, self.widths)
        fusion = Fusion(self.widths, len(labels), seg.stride)
        return System(
            "clnet",
            (
                Node("cls_encoder", cls_encoder, (IMAGE,), _OF_CLS),
                Node("seg_encoder", seg_encoder, (IMAGE,), _OF_SEG),
                Node("fusion", fusion, (*_OF_CLS, *_OF_SEG), ("logits", "mask_logits")),
            ),
            labels,
            tasks,
            image_size,
            OutputSpec("logits", "mask_logits"),
        )

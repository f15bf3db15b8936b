"""A classifier and a U-Net side by side, which know nothing of each other.

    image ─┬─► cls ─► logits
           └─► seg ─► mask_logits

This is what a cascade of the same encoder is to be compared with: if guidance pays, the cascade is
better.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, PositiveInt

from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.encoder import build_encoder
from ckd.train.networks.plain import PlainClassifier, PlainUNet
from ckd.train.networks.pretrained import Weights
from ckd.train.settings import STRICT, Fraction
from ckd.train.systems.backbones import BackboneName
from ckd.train.systems.graph import Node, System


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """Shape of both networks; ``decoder_widths`` are those at strides 16, 8, 4, 2 and 1."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "a classifier and a U-Net without guidance, to compare cascades with"

    kind: Literal["plain"] = "plain"
    backbone: BackboneName = "mobilenet_v2"
    cls_dropout: Fraction = 0.2
    decoder_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (
        96, 64, 48, 32, 16,
    )  # fmt: skip

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """The system, its encoders initialised with ``weights`` (see `build_encoder`)."""
        cls = PlainClassifier(
            build_encoder(self.backbone, weights, head=True), len(labels), self.cls_dropout
        )
        seg = PlainUNet(build_encoder(self.backbone, weights), self.decoder_widths)
        return System(
            "plain",
            (
                Node("cls", cls, (IMAGE,), ("logits",)),
                Node("seg", seg, (IMAGE,), ("mask_logits",)),
            ),
            labels,
            tasks,
            image_size,
            OutputSpec("logits", "mask_logits"),
        )

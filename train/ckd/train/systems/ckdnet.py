"""CKDNet (Jin et al., Applied Soft Computing 2021): three networks that guide each other.

    image ─┬─► rootseg ──coarse_logits, gate1..4──► cls ──mean1..4──► seg_decoder ─► mask_logits
           ├──────────────────────────────────────► │ └──► logits       ▲
           └─► seg_encoder ──g0, h1..h4─────────────────────────────────┘

The paper's CKD-Seg is two nodes here (see `ckd.train.networks.seg`): its first half needs only the
photograph and runs in parallel to the other two networks.

With ``segment_px`` the classifier alone works on the image at the cascade's size. RootSeg and
CKD-Seg resize it to a smaller one inside their own graphs, and give logits of that size; the
classifier resizes the gates that it gets, and CKD-Seg the means.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt

from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import build_encoder
from ckd.train.networks.image_input import Shrink
from ckd.train.networks.pretrained import Weights
from ckd.train.networks.rootseg import RootSeg
from ckd.train.networks.seg import SegDecoder, SegEncoder
from ckd.train.settings import STRICT, Fraction
from ckd.train.systems.backbones import BackboneName
from ckd.train.systems.graph import Node, System

_LEVELS = (1, 2, 3, 4)
_GATES = tuple(f"gate{level}" for level in _LEVELS)
_MEANS = tuple(f"mean{level}" for level in _LEVELS)
_HALVES = tuple(f"h{level}" for level in _LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class CkdNet:
    """Shape of a CKDNet. Defaults are those of the paper, or of its code where the two differ.

    If ``entangle_widths`` or ``decoder_widths`` is None, the widths follow the encoder's channels,
    as in the paper. ``segment_px`` is the side of the image that the segmentation networks work on,
    by default the cascade's; over half of that, so that bringing maps to it skips none. The other
    fields are explained at the networks that they configure.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "CKDNet (Jin et al. 2021)"

    kind: Literal["ckdnet"] = "ckdnet"
    backbone: BackboneName = "resnet101"
    rootseg_width: PositiveInt = 256
    rootseg_low_width: PositiveInt = 48
    rootseg_dropout: Fraction = 0.5
    stem_bn: Literal["fresh", "imagenet"] = "fresh"
    energy_sign: Literal[-1, 1] = -1
    cls_dropout: Fraction = 0.0
    entangle_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None = None
    decoder_widths: (
        tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] | None
    ) = None
    scse: Literal["full", "single"] = "full"
    decoder_dropout: Fraction = 0.2
    segment_px: Annotated[int, Field(ge=32, multiple_of=32)] | None = None

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """The system, its encoders initialised with ``weights`` (see `build_encoder`).

        Raises:
            UsageError: ``segment_px`` does not fit the image.
        """
        px = self.segment_px or image_size
        if px % 32 or not image_size < 2 * px <= 2 * image_size:
            raise UsageError(
                f"segment_px is {px}, expected a multiple of 32 over {image_size // 2} and at "
                f"most image_size, {image_size}; try --set system.segment_px={image_size}"
            )
        shrink = Shrink(image_size, px) if px < image_size else None
        rootseg = RootSeg(
            build_encoder(self.backbone, weights),
            self.rootseg_width,
            self.rootseg_low_width,
            self.rootseg_dropout,
            shrink,
        )
        cls = Cls(
            build_encoder(self.backbone, weights, head=True),
            len(labels),
            self.stem_bn,
            self.energy_sign,
            self.cls_dropout,
        )
        encoder = SegEncoder(build_encoder(self.backbone, weights), self.entangle_widths, shrink)
        decoder = SegDecoder(
            encoder,
            cls.encoder.channels[1:],
            self.decoder_widths,
            self.scse,
            self.decoder_dropout,
        )
        return System(
            "ckdnet",
            (
                Node("rootseg", rootseg, (IMAGE,), ("coarse_logits", *_GATES)),
                Node("cls", cls, (IMAGE, "coarse_logits", *_GATES), ("logits", *_MEANS)),
                Node("seg_encoder", encoder, (IMAGE,), ("g0", *_HALVES)),
                Node("seg_decoder", decoder, ("g0", *_HALVES, *_MEANS), ("mask_logits",)),
            ),
            labels,
            tasks,
            image_size,
            OutputSpec("logits", "mask_logits", "coarse_logits", coarse_align_corners=True),
        )

"""Makes `tests/assets/tiny_bundle`: a whole CKDNet of a few thousand weights at 32 px.

The tests of the device side read the committed folder, so they need neither torch nor onnx. Run
this by hand when networks or the bundle's format change; `tests/export/test_bundle_export.py` says
when that is due:

    python tests/tiny_bundle.py
"""

import shutil
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from ckd.contract.labels import ISIC2017
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.export.bundle import write_bundle
from ckd.export.parity import parity_images
from ckd.train.networks.blocks import ConvBnRelu
from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import Encoder
from ckd.train.networks.image_input import Shrink
from ckd.train.networks.rootseg import RootSeg
from ckd.train.networks.seg import EntangleKnowledge, SegDecoder, SegEncoder
from ckd.train.systems.graph import Node, System

FOLDER = Path(__file__).parent / "assets" / "tiny_bundle"
NAME = "tiny"
IMAGE_SIZE = 32
CHANNELS = (4, 4, 6, 6, 8)


def tiny_system(image_size: int = IMAGE_SIZE, segment_px: int | None = None) -> System:
    """CKDNet's own networks on tiny encoders: always the same weights, and every edge matters.

    The segmentation networks work on an image of ``segment_px``, as in `CkdNet`.
    """
    shrink = None if segment_px is None else Shrink(image_size, segment_px)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rootseg = RootSeg(_encoder(), width=4, low_width=4, shrink=shrink)
        cls = Cls(_encoder(), len(ISIC2017), stem_bn="imagenet")
        encoder = SegEncoder(_encoder(), shrink=shrink)
        decoder = SegDecoder(encoder, CHANNELS[1:], (6, 6, 4, 4, 4))
    # At birth these are 0, and the fine network would not hear the classifier.
    cls.attention.delta.data.fill_(0.5)
    for part in decoder.modules():
        if isinstance(part, EntangleKnowledge):
            part.mu.data.fill_(0.3)
    gates, means, halves = (
        tuple(f"{stem}{level}" for level in (1, 2, 3, 4)) for stem in ("gate", "mean", "h")
    )
    system = System(
        "ckdnet",
        (
            Node("rootseg", rootseg, (IMAGE,), ("coarse_logits", *gates)),
            Node("cls", cls, (IMAGE, "coarse_logits", *gates), ("logits", *means)),
            Node("seg_encoder", encoder, (IMAGE,), ("g0", *halves)),
            Node("seg_decoder", decoder, ("g0", *halves, *means), ("mask_logits",)),
        ),
        ISIC2017,
        ("MEL", "SBK"),
        image_size,
        OutputSpec("logits", "mask_logits", "coarse_logits", coarse_align_corners=True),
    )
    _settle(system)
    return system.eval()


def _encoder() -> Encoder:
    """Strides 2 to 32, as the real ones have."""
    stem = nn.Sequential(nn.Conv2d(3, CHANNELS[0], 3, stride=2, padding=1, bias=False))
    stem.extend((nn.BatchNorm2d(CHANNELS[0]), nn.ReLU()))
    stages = [
        nn.Sequential(ConvBnRelu(c_in, c_out), nn.MaxPool2d(2))
        for c_in, c_out in pairwise(CHANNELS)
    ]
    return Encoder(stem, stages, CHANNELS)


@torch.no_grad()
def _settle(system: System) -> None:
    """Give batch normalisation its statistics, and masks of which a third is lesion."""
    images = torch.from_numpy(parity_images(system.image_size, 16))
    for module in system.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    system.train()
    for _ in range(8):  # statistics settle from the front to the back
        system(images)
    tensors = system.eval()(images)
    for node, tensor in (("rootseg", "coarse_logits"), ("seg_decoder", "mask_logits")):
        *_, last = (m for m in system.networks[node].modules() if _gives_one_map(m))
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.bias -= tensors[tensor].quantile(0.67)


def _gives_one_map(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.out_channels == 1


if __name__ == "__main__":
    shutil.rmtree(FOLDER, ignore_errors=True)
    write_bundle(
        tiny_system(),
        FOLDER,
        name=NAME,
        provenance={"data": "none: weights are random", "licence": "Apache-2.0"},
    )
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file())
    print(f"{FOLDER}: {size / 1e3:.0f} kB")

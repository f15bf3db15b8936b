"""CKDNet as published, in shapes alone: its sizes, and the shape of every part."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.labels import ISIC2017, ISIC2018
from ckd.train.networks.cls import Cls
from ckd.train.networks.encoder import build_encoder
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import System


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


Published = tuple[FakeTensorMode, System]


#: Output of each part at 224 px, without the batch axis.
SHAPES: dict[str, tuple[int, ...]] = {
    **{f"{net}.encoder.stem": (64, 112, 112) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.0": (256, 56, 56) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.1": (512, 28, 28) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.2": (1024, 14, 14) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"{net}.encoder.stages.3": (2048, 7, 7) for net in ("rootseg", "cls", "seg_encoder")},
    **{f"rootseg.aspp.{branch}": (256, 7, 7) for branch in range(5)},
    "rootseg.project": (256, 7, 7),
    "rootseg.low": (48, 56, 56),
    "rootseg.decode.0": (256, 56, 56),
    "rootseg.decode.1": (256, 56, 56),
    "rootseg.decode": (1, 56, 56),
    "cls.attention": (2048, 7, 7),
    "cls.classify.fc": (3,),
    "seg_encoder.entangle.0": (256, 56, 56),
    "seg_encoder.entangle.1": (512, 28, 28),
    "seg_encoder.entangle.2": (1024, 14, 14),
    "seg_encoder.entangle.3": (2048, 7, 7),
    "seg_decoder.knowledge.0": (256, 56, 56),
    "seg_decoder.knowledge.1": (512, 28, 28),
    "seg_decoder.knowledge.2": (1024, 14, 14),
    "seg_decoder.knowledge.3": (2048, 7, 7),
    "seg_decoder.blocks.0": (1024, 14, 14),
    "seg_decoder.blocks.1": (512, 28, 28),
    "seg_decoder.blocks.2": (256, 56, 56),
    "seg_decoder.blocks.3": (64, 112, 112),
    "seg_decoder.blocks.4": (32, 224, 224),
    "seg_decoder.out": (1, 224, 224),
}


PARAMETERS = {
    "rootseg": 59_339_169,
    "rootseg.encoder": 42_500_160,
    "rootseg.encoder.stem": 9_408 + 128,
    "rootseg.encoder.stages.0": 215_808,
    "rootseg.encoder.stages.1": 1_219_584,
    "rootseg.encoder.stages.2": 26_090_496,
    "rootseg.encoder.stages.3": 14_964_736,
    "rootseg.aspp.0": 524_800,
    "rootseg.aspp.1": 4_719_104,
    "rootseg.aspp.2": 4_719_104,
    "rootseg.aspp.3": 4_719_104,
    "rootseg.aspp.4": 524_288 + 512,
    "rootseg.project": 328_192,
    "rootseg.low": 12_384,
    "rootseg.decode.0": 700_928,
    "rootseg.decode.1": 590_336,
    "rootseg.decode.3": 257,
    "cls": 42_509_444,
    "cls.encoder.stem.0": 12_544,
    "cls.attention": 1,
    "cls.classify.fc": 6_147,
    "seg_encoder.encoder": 42_500_160,
    "seg_decoder.blocks.0": 49_557_760,
    "seg_decoder.blocks.1": 12_392_576,
    "seg_decoder.blocks.2": 3_099_712,
    "seg_decoder.blocks.3": 342_040,
    "seg_decoder.blocks.4": 28_994,
    "seg_decoder.out": 33,
}


@pytest.fixture(scope="module")
def published() -> Published:
    """CKDNet as published, of tensors that have shapes and no values."""
    mode = FakeTensorMode()
    with mode:
        return mode, CkdNet().build(ISIC2017, ("MEL", "SBK"), 224, None).eval()


@pytest.mark.parametrize(("part", "expected"), PARAMETERS.items())
def test_parameters_are_those_published(published: Published, part: str, expected: int) -> None:
    assert num_parameters(published[1].networks.get_submodule(part)) == expected


def test_ckd_seg_has_the_live_parameters_of_the_published_one(published: Published) -> None:
    networks = published[1].networks
    assert sum(num_parameters(networks[n]) for n in ("seg_encoder", "seg_decoder")) == 158_102_399
    entangled = [
        num_parameters(networks.get_submodule(f"seg_encoder.entangle.{level}"))
        + num_parameters(networks.get_submodule(f"seg_decoder.knowledge.{level}"))
        for level in range(4)
    ]
    # Joined convolution with its bias, batch normalisation, and mu.
    assert entangled == [592_896 + 1, 2_365_440 + 1, 9_449_472 + 1, 37_773_312 + 1]


def test_seven_classes_widen_the_last_layer_alone() -> None:
    with FakeTensorMode():
        cls = Cls(build_encoder("resnet101"), len(ISIC2018))
    assert num_parameters(cls) == 42_517_640
    assert num_parameters(cls.classify.fc) == 14_343


def test_every_part_has_its_published_shape_at_224(published: Published) -> None:
    mode, system = published
    shapes: dict[str, tuple[int, ...]] = {}
    handles = [
        system.networks.get_submodule(part).register_forward_hook(
            lambda _, __, made, part=part: shapes.update({part: tuple(made.shape)})
        )
        for part in SHAPES
    ]
    with mode, torch.no_grad():
        tensors = system(torch.zeros(2, 224, 224, 3, dtype=torch.uint8))
    for handle in handles:
        handle.remove()

    assert shapes == {part: (2, *shape) for part, shape in SHAPES.items()}
    widths, sides = (256, 512, 1024, 2048), (56, 28, 14, 7)
    for level, (width, side) in enumerate(zip(widths, sides, strict=True), start=1):
        assert tensors[f"gate{level}"].shape == (2, width, side, side)
        assert tensors[f"mean{level}"].shape == (2, 1, side, side)
        assert tensors[f"h{level}"].shape == (2, width, side, side)
    assert tensors["g0"].shape == (2, 64, 112, 112)
    assert tensors["coarse_logits"].shape == (2, 1, 56, 56)
    assert tensors["logits"].shape == (2, 3)
    assert tensors["mask_logits"].shape == (2, 1, 224, 224)


def test_dropout_is_that_of_the_code(published: Published) -> None:
    networks = published[1].networks

    def rates(name: str) -> list[float]:
        return [m.p for m in networks[name].modules() if isinstance(m, nn.Dropout2d)]

    assert rates("rootseg") == [0.5, 0.5]
    assert rates("seg_decoder") == [0.2] * 5
    assert not rates("cls")
    assert not rates("seg_encoder")


def test_a_single_spatial_gate_saves_13870071_parameters(published: Published) -> None:
    with published[0]:
        single = CkdNet(scse="single").build(ISIC2017, (), 224, None)
    assert num_parameters(published[1]) - num_parameters(single) == 13_870_071

"""CKDNet as one system: its input, its batches, and settings that reach its networks."""

import copy
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.labels import ISIC2017
from ckd.train.networks.encoder import Encoder, build_encoder
from ckd.train.networks.image_input import ImageInput
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import System


def assert_close(got: Tensor, expected: Tensor, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """By default for float32 on both sides and values of order one, summed in another order."""
    torch.testing.assert_close(got, expected, rtol=rtol, atol=atol)


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_images_are_normalised_as_imagenet_is(image_BHWC: Tensor) -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((image_BHWC / 255.0 - mean) / std).permute(0, 3, 1, 2)
    assert_close(ImageInput()(image_BHWC), expected)


def test_an_answer_does_not_depend_on_the_rest_of_the_batch(
    small: System, image_BHWC: Tensor
) -> None:
    exact = copy.deepcopy(small).double()
    together = exact(image_BHWC)
    alone = exact(image_BHWC[1:2])
    for name in exact.outputs.names():
        # Doubles, but for the channel means and the attention, which are float32 by design.
        assert_close(alone[name], together[name][1:2], atol=1e-4)


def test_energy_sign_reaches_the_attention() -> None:
    with FakeTensorMode():
        built = CkdNet(energy_sign=1).build(ISIC2017, (), 64, None)
    assert built.networks.get_submodule("cls.attention").energy_sign == 1


@pytest.mark.parametrize(("stem_bn", "kept"), [("fresh", False), ("imagenet", True)])
def test_stem_bn_reaches_the_classifier(
    stem_bn: Literal["fresh", "imagenet"], kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def marked(*args: Any, **kwargs: Any) -> Encoder:
        encoder = build_encoder(*args, **kwargs)
        bn = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
        nn.init.constant_(bn.bias, 7)
        return encoder

    monkeypatch.setattr("ckd.train.systems.ckdnet.build_encoder", marked)
    built = CkdNet(backbone="mobilenet_v2", rootseg_width=4, stem_bn=stem_bn).build(
        ISIC2017, (), 64, None
    )
    stem = built.networks.get_submodule("cls.encoder.stem")
    bn = next(m for m in stem.modules() if isinstance(m, nn.BatchNorm2d))
    assert bool((bn.bias == 7).all()) == kept


def test_the_classifier_alone_has_the_head() -> None:
    with FakeTensorMode():
        built = CkdNet(backbone="mobilenet_v2").build(ISIC2017, (), 64, None)
    heads = {name: num_parameters(built.networks.get_submodule(f"{name}.encoder.head"))
             for name in ("rootseg", "cls", "seg_encoder")}  # fmt: skip
    assert heads == {"rootseg": 0, "cls": 320 * 1280 + 2 * 1280, "seg_encoder": 0}
    assert built.networks.get_submodule("cls.classify.fc").in_features == 1280

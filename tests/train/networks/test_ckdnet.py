"""CKDNet as one system: its input, its batches, and settings that reach its networks."""

import copy
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.train.losses.term import ClassCounts
from ckd.train.networks.blocks import resized
from ckd.train.networks.encoder import Encoder, build_encoder
from ckd.train.networks.image_input import ImageInput, Shrink
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.recipes.text import with_overrides
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.distilled import DistilledCkdNet
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


def test_segmentation_networks_may_work_on_a_smaller_image_and_learn() -> None:
    torch.manual_seed(0)
    recipe = with_overrides(
        ckdnet_tiny(),
        ["system.segment_px=64", "image_size=96", "system.rootseg_width=4",
         "system.entangle_widths=[4,4,4,4]", "system.decoder_widths=[4,4,4,4,4]"],
    )  # fmt: skip
    built = recipe.system.build(ISIC2017, recipe.tasks, recipe.image_size, None).train()
    for name, parameter in built.named_parameters():
        if name.endswith(".mu"):  # at birth 0, and no gradient would reach what lies behind it
            nn.init.constant_(parameter, 0.5)
    batch = {
        "image": torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8),
        "mask": (torch.rand(2, 1, 96, 96) > 0.5).float(),
        "label": torch.tensor([0, 2]),
        "turn": torch.zeros(2, dtype=torch.int64),
    }
    tensors = built(batch["image"])
    assert tensors["mask_logits"].shape == (2, 1, 64, 64)
    assert tensors["coarse_logits"].shape == (2, 1, 16, 16)
    counts = ClassCounts((1, 1, 1), 3)
    losses = [term(tensors, batch, counts) for stage in recipe.stages for term in stage.losses]
    torch.autograd.backward(torch.stack(losses).sum())
    for name, network in built.networks.items():
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert gradients, name
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
    # The classifier hears the coarse network's gates, and the fine network the classifier.
    (by_mask,) = torch.autograd.grad(built(batch["image"])["mask_logits"].sum(), _conv1(built))
    assert by_mask.abs().max() > 0


def _conv1(built: System) -> Tensor:
    """The first kernel of the classifier."""
    return next(built.networks["cls"].parameters())


def test_a_size_of_its_own_that_is_the_images_changes_nothing(image_BHWC: Tensor) -> None:
    small = CkdNet(backbone="mobilenet_v2", rootseg_width=4, decoder_widths=(4, 4, 4, 4, 4))
    built = []
    for shape in (small, replace(small, segment_px=64)):
        torch.manual_seed(0)
        built.append(shape.build(ISIC2017, (), 64, None).eval())
    with torch.no_grad():
        plain, same = (system(image_BHWC) for system in built)
    assert plain.keys() == same.keys()
    for name, tensor in plain.items():
        assert torch.equal(same[name], tensor), name
    x_BCHW = torch.zeros(1, 2, 6, 6)
    assert resized(x_BCHW, (6, 6)) is x_BCHW


@pytest.mark.parametrize(("from_px", "to_px"), [(96, 64), (224, 192), (256, 192), (64, 32)])
def test_an_image_is_shrunk_by_the_areas_that_its_new_pixels_cover(
    from_px: int, to_px: int
) -> None:
    rng = np.random.default_rng(0)
    image_HWC = rng.normal(size=(from_px, from_px, 3)).astype(np.float32)
    expected = cv2.resize(image_HWC, (to_px, to_px), interpolation=cv2.INTER_AREA)
    got_BCHW = Shrink(from_px, to_px)(torch.from_numpy(image_HWC).permute(2, 0, 1)[None])
    # OpenCV's own shares are float32 differences of coordinates
    np.testing.assert_allclose(got_BCHW[0].permute(1, 2, 0).numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("segment_px", [48, 64, 160])
def test_a_size_that_does_not_fit_the_image_is_refused(segment_px: int) -> None:
    with pytest.raises(UsageError, match=f"segment_px is {segment_px}, expected a multiple of 32"):
        CkdNet(segment_px=segment_px).build(ISIC2017, (), 128, None)


def test_teacher_and_student_segment_at_one_size() -> None:
    with pytest.raises(ValueError, match="segment_px is None of the teacher and 64 of the student"):
        DistilledCkdNet(teacher=CkdNet(), student=CkdNet(segment_px=64))


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

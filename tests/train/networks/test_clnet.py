"""CLNet: the sizes of the design, the algebra of its fusion, Inception V3's cut.

Suffixes: B batch, C channels, H rows, W columns.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
import torch
import torch.nn.functional as F
import torchvision.models as tv
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ckd.contract.confusion import Confusion
from ckd.contract.errors import UsageError
from ckd.contract.labels import ISIC2017
from ckd.contract.wiring import IMAGE
from ckd.data.samples import SampleSet
from ckd.scores.images import ImageScore
from ckd.train.fitting.module import StageModule
from ckd.train.fitting.schedules import learning_rate_factor
from ckd.train.folds import count_macs
from ckd.train.losses import LabelLoss, MaskLoss
from ckd.train.networks.encoder import AnyBackbone, Backbone, Encoder, build_encoder
from ckd.train.networks.fusion import Fusion, FusionEncoder, FusionModule
from ckd.train.networks.unet import UNetDecoder, unet_encoder
from ckd.train.recipes.clnet import clnet
from ckd.train.recipes.text import with_overrides
from ckd.train.systems import rewrite
from ckd.train.systems.clnet import ClNet
from ckd.train.systems.graph import System, tensor_shapes
from ckd.train.systems.rewrite import CLASS_MAP

if TYPE_CHECKING:
    from tests.train.networks.conftest import Publish, Randomise

WIDTHS = (64, 128, 256, 512, 1024)
TINY = (4, 6, 8, 10, 12)


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# The design, in shapes alone -----------------------------------------------------------------

RESNET_PX, INCEPTION_PX, UNET_PX = (
    (112, 56, 28, 14, 7), (109, 52, 25, 12, 5), (224, 112, 56, 28, 14),
)  # fmt: skip
#: Backbones, parameters, GMAC, side of the classifier's maps and of the segmentation encoder's.
VARIANTS: list[tuple[AnyBackbone, Any, int, float, tuple[int, ...], tuple[int, ...]]] = [
    ("resnet50", "resnet50", 90_468_288, 21.12, RESNET_PX, RESNET_PX),
    ("resnet50", "unet", 84_414_784, 66.71, RESNET_PX, UNET_PX),
    ("inception_v3", "resnet50", 88_549_216, 19.68, INCEPTION_PX, RESNET_PX),
    ("inception_v3", "unet", 82_495_712, 65.26, INCEPTION_PX, UNET_PX),
]


@pytest.mark.parametrize(("cls", "seg", "parameters", "gmac", "cls_px", "seg_px"), VARIANTS)
def test_every_variant_has_the_size_cost_and_shapes_of_the_design(
    cls: AnyBackbone,
    seg: Any,
    parameters: int,
    gmac: float,
    cls_px: tuple[int, ...],
    seg_px: tuple[int, ...],
) -> None:
    with FakeTensorMode():
        system = ClNet(cls_backbone=cls, seg_backbone=seg).build(ISIC2017, (), 224, None)
        shapes = tensor_shapes(system)
        assert count_macs(system) / 1e9 == pytest.approx(gmac, abs=0.005)
    assert num_parameters(system) == parameters
    assert shapes == {
        IMAGE: (1, 3, 224, 224),
        **{f"c{i}": (1, WIDTHS[i], cls_px[i], cls_px[i]) for i in range(5)},
        **{f"s{i}": (1, WIDTHS[i], seg_px[i], seg_px[i]) for i in range(5)},
        "logits": (1, 3),
        "mask_logits": (1, 1, 224, 224),
    }


def test_both_encoders_run_beside_each_other() -> None:
    with FakeTensorMode():
        system = ClNet(widths=TINY).build(ISIC2017, (), 64, None)
    inputs = {node.name: node.inputs for node in system.nodes}
    assert inputs["cls_encoder"] == inputs["seg_encoder"] == (IMAGE,)
    assert set(inputs["fusion"]) == {f"{of}{level}" for of in "cs" for level in range(5)}


@pytest.mark.parametrize(("cls", "seg"), [("mobilenet_v2", "vgg16_bn"), ("resnet18", "resnet34")])
def test_any_backbone_will_do(cls: Backbone, seg: Backbone) -> None:
    with FakeTensorMode():
        system = ClNet(cls_backbone=cls, seg_backbone=seg, widths=TINY).build(("a",), (), 96, None)
        assert tensor_shapes(system)["mask_logits"] == (1, 1, 96, 96)


def test_images_too_small_for_inception_are_refused() -> None:
    small = ["system.cls_backbone=inception_v3", "image_size=64"]
    recipe = with_overrides(clnet(), small)
    with pytest.raises(UsageError, match=r"inception_v3 .* 75 px or more, got 64; .*image_size=96"):
        recipe.system.build(ISIC2017, (), recipe.image_size, None)
    with FakeTensorMode():
        fits = with_overrides(recipe, ["image_size=96", "system.widths=[4,4,4,4,4]"])
        shapes = tensor_shapes(fits.system.build(ISIC2017, (), fits.image_size, None))
    assert shapes["mask_logits"] == (1, 1, 96, 96)


# Fusion --------------------------------------------------------------------------------------


def pair() -> tuple[FusionEncoder, FusionEncoder]:
    """Halves of two encoders that hand on a level each, of their own channels and sizes."""

    def half(own: int, other: int) -> FusionEncoder:
        encoder = Encoder(nn.Sequential(), [nn.Identity()] * 4, (own,) * 5)
        return FusionEncoder(encoder, (other,) * 5, (32,) * 5).double()

    return half(5, 3), half(3, 5)


@pytest.mark.parametrize(("cls_px", "seg_px"), [(5, 7), (7, 14), (8, 8), (12, 9)])
def test_a_fusion_module_is_that_of_the_design(
    cls_px: int, seg_px: int, randomised: "Randomise"
) -> None:
    """Enlarge the smaller, join, conv 1x1 BN ReLU, SE, two conv 3x3 BN ReLU: in doubles."""
    of_cls, of_seg = pair()
    level = randomised(FusionModule(32)).double()
    c = torch.randn(2, 5, cls_px, cls_px).double()
    s = torch.randn(2, 3, seg_px, seg_px).double()

    size = 2 * [max(cls_px, seg_px)]
    joined = nn.Conv2d(8, 32, 1, bias=False).double()
    first, second = (half.get_submodule("reduce.0") for half in (of_cls, of_seg))
    kernels: list[Tensor] = [first.get_parameter("weight"), second.get_parameter("weight")]
    joined.weight = nn.Parameter(torch.cat(kernels, dim=1))
    up = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in (c, s)]
    x = F.relu(level.bn(joined(torch.cat(up, dim=1))))
    squeeze, excite = [m for m in level.gate if isinstance(m, nn.Conv2d)]
    assert (squeeze.out_channels, excite.out_channels) == (2, 32)  # reduction 16
    # The mean is float32 by design, the rest of this sum double.
    pooled = x.float().mean(dim=(2, 3), keepdim=True).double()
    x = x * torch.sigmoid(excite(F.relu(squeeze(pooled))))
    (conv1, bn1, _), (conv2, bn2, _) = level.convs
    expected = F.relu(bn2(conv2(F.relu(bn1(conv1(x))))))

    got = level(of_cls(c)[0], of_seg(s)[0])
    torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-6)
    if cls_px != seg_px:
        aligned = [F.interpolate(x, size, mode="bilinear", align_corners=True) for x in (c, s)]
        difference = joined(torch.cat(aligned, dim=1)) - joined(torch.cat(up, dim=1))
        assert difference.abs().max() > 0.05  # corners matter here


def test_both_halves_start_as_slices_of_one_kernel() -> None:
    with_many = FusionEncoder(unet_encoder(WIDTHS), (2048,) * 5, WIDTHS)
    for conv, channels in zip(with_many.reduce, WIDTHS, strict=True):
        unit = math.sqrt(2.0 / (2048 + channels))
        # 4096 draws or more: their standard deviation is known to two percent.
        spread = conv.get_parameter("weight").std().item()
        assert spread / unit == pytest.approx(1.0, abs=0.05)


@pytest.fixture
def tiny(randomised: "Randomise") -> System:
    shape = ClNet(cls_backbone="resnet18", seg_backbone="resnet18", widths=TINY)
    built: System = randomised(shape.build(ISIC2017, ("MEL", "SBK"), 64, None))
    return built.requires_grad_(False)


def fused_maps(system: System, image_BHWC: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    tensors = system(image_BHWC)
    fusion = system.networks["fusion"]
    assert isinstance(fusion, Fusion)
    halves = zip(fusion.levels, range(5), strict=True)
    return tensors, [fm(tensors[f"c{i}"], tensors[f"s{i}"]) for fm, i in halves]


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)


def test_the_classifier_weighs_the_means_of_all_levels(tiny: System, image_BHWC: Tensor) -> None:
    tensors, maps = fused_maps(tiny, image_BHWC)
    fc = tiny.networks.get_submodule("fusion.classify.fc")
    assert fc.get_parameter("weight").shape == (3, sum(TINY))
    expected = fc(torch.cat([fm.mean(dim=(2, 3)) for fm in maps], dim=1))
    torch.testing.assert_close(tensors["logits"], expected, rtol=1e-4, atol=1e-5)


def test_the_decoder_enlarges_and_joins_level_by_level(tiny: System, image_BHWC: Tensor) -> None:
    tensors, maps = fused_maps(tiny, image_BHWC)
    decode, out = (tiny.networks.get_submodule(f"fusion.{name}") for name in ("decode", "out"))
    assert isinstance(decode, UNetDecoder)
    y = maps[4]
    for block, fm in zip(decode.blocks, reversed(maps[:4]), strict=True):
        up = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        y = block(torch.cat([up, fm], dim=1))
    expected = F.interpolate(out(y), scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(tensors["mask_logits"], expected, rtol=1e-4, atol=1e-5)


def test_class_maps_are_of_the_largest_fused_map(tiny: System, image_BHWC: Tensor) -> None:
    explained = rewrite.explained(tiny)
    tensors = explained(image_BHWC)
    assert torch.equal(tensors["logits"], tiny(image_BHWC)["logits"])
    assert torch.equal(tensors["mask_logits"], tiny(image_BHWC)["mask_logits"])
    assert tensors[CLASS_MAP].shape == (2, 3, 32, 32)
    # Enlarging by whole factors leaves a mean as it is, so that the map adds up to the logits.
    bias = tiny.networks.get_submodule("fusion.classify.fc").get_parameter("bias")
    means = tensors[CLASS_MAP].mean(dim=(2, 3))
    torch.testing.assert_close(means + bias, tensors["logits"], rtol=1e-4, atol=1e-5)


def test_the_plain_encoder_is_new_and_learns_as_what_is_new_does() -> None:
    encoder = unet_encoder(WIDTHS)
    assert encoder.stride == 1
    assert encoder.pretrained_parameters() == []
    assert encoder.channels == WIDTHS
    with torch.no_grad():
        sides = [x.shape[2] for x in unet_encoder(TINY).eval()(torch.zeros(1, 3, 32, 32))]
    assert sides == [32, 16, 8, 4, 2]


# Inception V3 --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inception(randomised: "Randomise") -> tv.Inception3:
    """As torchvision hands it out with its weights, but for their values."""
    torch.manual_seed(0)
    network: tv.Inception3 = randomised(
        tv.inception_v3(weights=None, aux_logits=True, init_weights=False, transform_input=True)
    )
    return network.requires_grad_(False)


def test_inception_is_cut_where_the_design_says() -> None:
    with FakeTensorMode():
        encoder = build_encoder("inception_v3").eval()
        maps = encoder(torch.zeros(1, 3, 224, 224))
    assert encoder.channels == (64, 192, 288, 768, 2048)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (64, 109, 109), (192, 52, 52), (288, 25, 25), (768, 12, 12), (2048, 5, 5),
    ]  # fmt: skip
    assert num_parameters(encoder) == 21_785_568  # published 27,161,264 less both classifiers
    assert get_args(AnyBackbone) == (*get_args(Backbone), "inception_v3")


@pytest.mark.parametrize("source", ["file", "imagenet"])
def test_pretrained_inception_sees_the_pixels_it_was_trained_on(
    source: str, inception: tv.Inception3, tmp_path: Path, published_weights: "Publish"
) -> None:
    """torchvision turns ImageNet's normalisation into 2 p - 1; so must the encoder."""
    state = inception.state_dict()
    assert any(name.startswith("AuxLogits.") for name in state)
    if source == "file":
        torch.save(state, tmp_path / "inception_v3_google-0cc3c7bd.pth")
    else:
        published_weights(state)
    weights: Any = tmp_path if source == "file" else "imagenet"
    encoder = build_encoder("inception_v3", weights).eval()

    seen: list[Tensor] = []
    handle = inception.Mixed_7c.register_forward_hook(lambda _, __, made: seen.append(made))
    stem = inception.Conv2d_2b_3x3.register_forward_hook(lambda _, __, made: seen.append(made))
    image_BCHW = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        inception(image_BCHW)
        got = encoder(image_BCHW)
        raw = build_encoder("inception_v3").eval()
        raw.load_state_dict(build_encoder("inception_v3", weights).state_dict())
        again = raw(image_BCHW)
    handle.remove()
    stem.remove()
    for x, expected in zip((got[0], got[4]), seen, strict=True):
        # float32 sums in another order, which depth amplifies
        torch.testing.assert_close(x, expected, rtol=1e-3, atol=1e-4)
    # A run folder's weights load into an encoder that was built without any.
    assert torch.equal(again[4], got[4])


# The recipe ----------------------------------------------------------------------------------


def test_the_recipe_is_the_papers_where_it_says_something() -> None:
    recipe = clnet()
    (stage,) = recipe.trained
    assert set(stage.nodes) == {"cls_encoder", "seg_encoder", "fusion"}
    assert (stage.optimizer, stage.lr, stage.encoder_lr) == ("adam", 1e-4, 1e-4)
    assert (stage.weight_decay, stage.epochs, stage.batch_size) == (5e-4, 200, 16)
    assert recipe.image_size == 224
    label, mask = stage.losses
    assert label == LabelLoss(output="logits", focal=True, class_weighted=False)
    assert mask == MaskLoss(output="mask_logits", form="plain")
    flips = stage.augmentation
    assert flips.flip
    assert (flips.rotate_deg, flips.shear_deg, flips.scale, flips.shift, flips.colour) == (
        0, 0, (1, 1), (0, 0), "none",
    )  # fmt: skip


def test_the_learning_rate_falls_as_the_paper_says() -> None:
    (stage,) = clnet().trained

    def rate(step: int) -> float:
        return stage.lr * learning_rate_factor(stage.schedule, step, 1000, stage.lr)

    assert rate(0) == 1e-4
    assert rate(500) == pytest.approx(5.1406e-5, rel=1e-5)
    assert rate(1000) == 0.0


def test_a_joint_stage_is_judged_by_both_of_its_answers(tiny: System) -> None:
    recipe = clnet()
    assert recipe.trained[0].monitor == "jaccard_and_auc"
    with_overrides(recipe, ["stages.joint.monitor=jaccard"])

    samples = SampleSet("none", "train", ISIC2017, ())
    module = StageModule(recipe, recipe.trained[0], tiny, samples, None)
    scores = [
        ImageScore("a", Confusion(3, 1, 5, 0), None, (0.9, 0.05, 0.05), 0),
        ImageScore("b", Confusion(1, 1, 5, 0), None, (0.2, 0.7, 0.1), 1),
        ImageScore("c", Confusion(2, 0, 5, 0), None, (0.3, 0.1, 0.6), 2),
    ]
    figures = module.figures(scores)
    assert figures["jaccard"] == pytest.approx(0.75)
    assert figures["mean_auc"] == 1.0
    assert figures["jaccard_and_auc"] == pytest.approx(0.875)
    assert "jaccard_and_auc" not in module.figures([replace(s, label=None) for s in scores])

    only_mask = 'stages.joint.losses=[{"kind":"mask","output":"mask_logits"}]'
    with pytest.raises(UsageError, match=r"'jaccard_and_auc' does not score.*expected jaccard or"):
        with_overrides(recipe, [only_mask])

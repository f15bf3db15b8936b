"""Encoders of timm: where they are cut, what they compute, whose weights they take.

Suffixes: B batch, C channels, H rows, W columns.
"""

import socket
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.train.networks.encoder import Encoder, add_input_channel, build_encoder
from ckd.train.networks.image_input import HalfMeanInput, ImageInput
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.recipes.text import with_overrides

#: Encoders in torchvision's and timm's names, beside the checkout.
WEIGHTS = Path(__file__).resolve().parents[4] / "shared" / "weights"

needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_dir(), reason="needs ImageNet weights in ../shared/weights"
)


def both(name: str) -> tuple[Encoder, Any]:
    """The encoder, and timm's whole network with the same random weights."""
    torch.manual_seed(0)
    encoder = build_encoder(name, head=True).eval()
    torch.manual_seed(0)
    return encoder, timm.create_model(name.removeprefix("timm/"), num_classes=0).eval()


@pytest.mark.parametrize(
    ("name", "channels", "head_channels"),
    [
        ("efficientnet_lite0", (16, 24, 40, 112, 320), 1280),
        ("tf_efficientnet_lite0", (16, 24, 40, 112, 320), 1280),
        ("mobilenetv3_large_100", (16, 24, 40, 112, 160), 960),
        ("mobilenetv4_conv_small", (32, 32, 64, 96, 128), 960),
        ("regnety_004", (32, 48, 104, 208, 440), 440),
        ("timm/resnet18", (64, 64, 128, 256, 512), 512),
    ],
)
def test_the_pieces_compute_what_timm_computes(
    name: str, channels: tuple[int, ...], head_channels: int
) -> None:
    encoder, network = both(name)
    image_BCHW = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        maps = encoder(image_BCHW)
        if isinstance(encoder.stem[0], HalfMeanInput):
            image_BCHW = encoder.stem[0](image_BCHW)
        features, expected = network.forward_intermediates(image_BCHW)
        headed = encoder.head(maps[4])
    assert [tuple(x.shape[1:]) for x in maps] == [
        (c, 96 // stride, 64 // stride)
        for c, stride in zip(channels, (2, 4, 8, 16, 32), strict=True)
    ]
    assert (encoder.channels, encoder.head_channels) == (channels, head_channels)
    # timm's last map of MobileNetV3 and V4 lies after the 1x1 convolution, which is our head.
    for got, wanted in zip(maps[:4], expected, strict=False):
        assert torch.equal(got, wanted)
    assert torch.equal(headed, features)
    assert torch.equal(headed.mean(dim=(2, 3)), features.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("tf_efficientnet_lite0", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("resnetv2_18", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("mobilenetv4_conv_small", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_a_picture_is_normalised_as_timm_does(
    name: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    encoder, network = both(name)
    timm_data: Any = timm.data
    config = timm_data.resolve_model_data_config(network)
    assert (config["mean"], config["std"]) == (mean, std)
    picture_BHWC = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    normalised = timm_data.create_transform(**config).transforms[-1]
    with torch.no_grad():
        got = encoder.head(encoder(ImageInput()(picture_BHWC))[4])
        expected = network.forward_features(normalised(picture_BHWC.permute(0, 3, 1, 2) / 255.0))
    assert float((got - expected).abs().max()) <= 1e-4 * float(expected.std())


def test_a_network_of_images_that_are_normalised_otherwise_is_refused() -> None:
    told_of = r"resnet50_clip cannot .* mean \(0\.481.* expected ImageNet's or 0\.5;"
    with torch.device("meta"), pytest.raises(UsageError, match=told_of) as told:
        build_encoder("resnet50_clip")
    assert "\n" not in str(told.value)


def test_without_its_head_an_encoder_ends_at_the_last_map() -> None:
    encoder = build_encoder("mobilenetv4_conv_small")
    assert isinstance(encoder.head, nn.Identity)
    assert encoder.head_channels == encoder.channels[4] == 128


def test_a_widened_stem_pads_as_tensorflow_does() -> None:
    encoder = build_encoder("tf_efficientnet_lite0").eval()
    rgb = encoder.stem[1]
    assert isinstance(rgb, nn.Conv2d)
    kernel = rgb.weight.detach()
    add_input_channel(encoder, fresh_bn=False)
    image_BCHW = torch.randn(1, 3, 64, 64)
    blank = torch.cat([image_BCHW, torch.zeros(1, 1, 64, 64)], dim=1)
    assert torch.equal(encoder.stem[0](blank)[:, 3], blank[:, 3])
    got = encoder.stem[1](blank).detach()
    padded = F.pad(image_BCHW, (0, 1, 0, 1))  # an even side with stride 2: nothing before it
    torch.testing.assert_close(got, F.conv2d(padded, kernel, stride=2))
    both_sides = F.conv2d(image_BCHW, kernel, stride=2, padding=1)
    assert float((got - both_sides).abs().max()) > 0.1


def test_an_activation_of_the_stems_normalisation_stays() -> None:
    encoder = build_encoder("efficientnet_lite0").eval()
    add_input_channel(encoder, fresh_bn=True)
    assert [type(module).__name__ for module in encoder.fresh] == ["BatchNormAct2d"]
    x0 = nn.Sequential(*list(encoder.stem)[:2])(torch.randn(1, 4, 32, 32))
    assert float(x0.detach().min()) == 0.0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("vit_tiny_patch16_224", "strides 16, expected 2, 4, 8, 16, 32"),
        ("hrnet_w18_small", "between layer1 and stage2 it is no chain of modules"),
        ("repvgg_a0", "not one convolution alone reads the image"),
        ("maxvit_tiny_rw_224", "does not take an image of 64 px"),
    ],
)
def test_one_that_cannot_be_cut_says_why_in_one_line(name: str, why: str) -> None:
    with torch.device("meta"), pytest.raises(UsageError) as told:
        build_encoder(name)
    assert str(told.value).startswith(f"{name} cannot be cut: ")
    assert why in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "efficientnet_lite00",
            r"'googlenet', or a network of timm's \(near: .*efficientnet_lite0",
        ),
        ("timm/resnet19", r"a network of timm's \(near: .*resnet18"),
        ("hf-hub:timm/resnet18.a1_in1k", "is no encoder"),
        ("inception_v3", "is no encoder"),
    ],
)
def test_a_recipe_refuses_what_is_no_encoder(name: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        with_overrides(find_recipe("ckdnet-tiny"), [f"system.backbone={name}"])


def test_a_recipe_names_timms_networks_as_timm_does() -> None:
    tiny = find_recipe("ckdnet-tiny")
    for name in ("efficientnet_lite0", "timm/resnet18"):
        changed = with_overrides(tiny, [f"system.backbone={name}"])
        assert getattr(changed.system, "backbone", None) == name


def test_no_weights_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    build_encoder("mobilenetv4_conv_small")
    with pytest.raises(UsageError, match=r"come from a file: expected --weights FILE.*imagenet"):
        build_encoder("mobilenetv4_conv_small", "imagenet")


def test_weights_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    """A folder holds timm's variants of torchvision's names in a folder `timm`."""
    state = timm.create_model("resnet18").state_dict()
    (tmp_path / "timm").mkdir()
    save_file(state, tmp_path / "timm" / "resnet18_a1.safetensors")
    torch.save(state, tmp_path / "w.pth")
    for weights in (tmp_path / "w.pth", tmp_path):
        encoder = build_encoder("timm/resnet18", weights)
        assert torch.equal(encoder.stem[0].weight, state["conv1.weight"])  # type: ignore[arg-type]
    with pytest.raises(EnvironmentUnusable, match=r"resnet18\*\.pth or .*found none"):
        build_encoder("resnet18", tmp_path)


@needs_weights
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_lite2", "mobilenet_v2"])
def test_each_backbone_finds_its_weights_in_the_shared_folder(name: str) -> None:
    state = torch.load(WEIGHTS / f"{name}_imagenet_features.pth", weights_only=True)
    encoder = build_encoder(name, WEIGHTS, head=True)
    loaded = list(encoder.state_dict().values())
    given = [tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")]
    kept = [tensor for tensor in loaded if tensor.ndim > 0]
    assert len(kept) == len(given)
    assert all(torch.equal(got, wanted) for got, wanted in zip(kept, given, strict=True))


@needs_weights
def test_weights_of_another_network_are_refused_in_one_line() -> None:
    lite0 = WEIGHTS / "tf_efficientnet_lite0_imagenet_features.pth"
    with pytest.raises(
        UsageError, match=r"not tf_efficientnet_lite2 weights; \d+ of .*blocks"
    ) as e:
        build_encoder("tf_efficientnet_lite2", lite0)
    assert "\n" not in str(e.value)
    # Padded otherwise, the same tensors make another network: its name must be in the file's.
    with pytest.raises(EnvironmentUnusable, match=r"efficientnet_lite0\*\.pth.*found none"):
        build_encoder("efficientnet_lite0", WEIGHTS)

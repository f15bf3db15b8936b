"""Weights that training starts from: fetched, of a file, of a folder, and refused."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import pytest
import torch
import torchvision.models as tv
from damage import packed

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.train.networks.encoder import Backbone, build_encoder

if TYPE_CHECKING:
    from tests.train.networks.conftest import Publish


@pytest.mark.usefixtures("offline")
def test_unreachable_imagenet_weights_name_the_remedy() -> None:
    with pytest.raises(
        EnvironmentUnusable, match=r"mobilenet_v2.*no route.*--weights FILE"
    ) as told:
        build_encoder("mobilenet_v2", "imagenet")
    assert isinstance(told.value.__cause__, URLError)


@pytest.mark.parametrize(
    ("backbone", "which"),
    [("mobilenet_v2", "mobilenet_v2-b0353104"), ("resnet18", "resnet18-f37072fd")],
)
def test_imagenet_means_the_first_published_weights(
    backbone: Backbone, which: str, published_weights: "Publish"
) -> None:
    state = getattr(tv, backbone)(weights=None).state_dict()
    addresses = published_weights(state)
    encoder = build_encoder(backbone, "imagenet")
    assert len(addresses) == 1
    assert which in addresses[0]
    assert torch.equal(next(iter(encoder.parameters())), next(iter(state.values())))


def mobilenet_file(
    path: Path, change: Callable[[dict[str, Any]], Any] | None = None
) -> tv.MobileNetV2:
    network = tv.mobilenet_v2(weights=None)
    state = network.state_dict()
    torch.save(state if change is None else change(state), path)
    return network


def test_a_local_weight_file_is_what_the_encoder_computes_with(tmp_path: Path) -> None:
    def headless(state: dict[str, Any]) -> dict[str, Any]:
        """As files without the classifier, or from before the batch counters, are."""
        dropped = ("classifier.", "features.0.1.num_batches_tracked")
        return {k: v for k, v in state.items() if not k.startswith(dropped)}

    network = mobilenet_file(tmp_path / "w.pth", headless).eval()
    encoder = build_encoder("mobilenet_v2", tmp_path / "w.pth", head=True).eval()
    image_BCHW = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        got = encoder.head(encoder(image_BCHW)[4])
        assert torch.equal(got, network.features(image_BCHW))


def test_a_missing_weight_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable, match=r"absent\.pth.*mobilenet_v2"):
        build_encoder("mobilenet_v2", tmp_path / "absent.pth")


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    mobilenet_file(tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"w\.pth: not resnet18 weights.*'bn1\.bias'"):
        build_encoder("resnet18", tmp_path / "w.pth")


def test_weights_of_another_width_are_refused(tmp_path: Path) -> None:
    def narrowed(state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "features.18.0.weight": torch.zeros(640, 320, 1, 1)}

    mobilenet_file(tmp_path / "w.pth", narrowed)
    with pytest.raises(UsageError, match=r"(?s)w\.pth: tensors do not fit.*features\.18"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content", [b"", b"not a weight file", b"PK\x03\x04 a damaged archive"], ids=repr
)
def test_a_file_that_is_no_weight_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match=r"w\.pth: not a PyTorch state dict"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


def test_a_file_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    mobilenet_file(tmp_path / "w.pth")
    packed(tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"w\.pth: not a PyTorch state dict"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [torch.zeros(3), [1, 2], {"state_dict": {}}, {"w": torch.zeros(1).expand(10**6, 10**6)}],
    ids=["tensor", "list", "nested", "repeated"],
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=r"w\.pth: not"):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")


def test_a_weight_file_cannot_run_code(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harmed",))

    (tmp_path / "w.pth").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UsageError):
        build_encoder("mobilenet_v2", tmp_path / "w.pth")
    assert not (tmp_path / "harmed").exists()


def test_weights_are_found_in_a_folder_by_the_backbones_name(tmp_path: Path) -> None:
    network = tv.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18-f37072fd.pth")
    torch.save({}, tmp_path / "resnet182.pth")
    encoder = build_encoder("resnet18", tmp_path)
    assert torch.equal(encoder.stem[0].weight, network.conv1.weight)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentUnusable, match=r"one weight file resnet34\*\.pth.*found none"):
        build_encoder("resnet34", tmp_path)
    torch.save({}, tmp_path / "resnet18.pth")
    with pytest.raises(EnvironmentUnusable, match=r"found resnet18-f37072fd\.pth, resnet18\.pth"):
        build_encoder("resnet18", tmp_path)

"""Grad-CAM++ and the class map against independent computations, and what evaluation shows of them.

Suffixes: N images, B batch, C channels, H rows, W columns, K classes, S network side.
"""

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.explanation import evidence
from ckd.train.evaluation.explain import explain, grad_cam_plus_plus
from ckd.train.networks.blocks import ClassHead
from ckd.train.systems import rewrite
from ckd.train.systems.graph import Node, System

LABELS = ("MEL", "SBK", "NEV")
SIDE = 32


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These sums are too short to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """A classifier on one convolution's map, or on two of different sizes."""

    def __init__(self, num_maps: int = 1) -> None:
        super().__init__()
        channels = (6, 4)[:num_maps]
        self.convs = nn.ModuleList(nn.Conv2d(3, c, 4, stride=4) for c in channels)
        self.classify = ClassHead(channels, len(LABELS), dropout=0.5)
        # Gradients far above the 1e-6 that the grad-cam package adds to its denominators.
        self.classify.fc.weight.data.mul_(40.0)

    def maps(self, image_BCHW: Tensor) -> list[Tensor]:
        fine, *coarse = (torch.relu(conv(image_BCHW)) for conv in self.convs)
        return [fine, *(F.avg_pool2d(x, 2) for x in coarse)]

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.classify(*self.maps(image_BCHW)))


def system(net: nn.Module, exclusive: bool = True) -> System:
    nodes = (Node("net", net, (IMAGE,), ("logits",)),)
    results = OutputSpec("logits", exclusive=exclusive)
    return System("toy", nodes, LABELS, LABELS, SIDE, results).eval()


def photographs(count: int = 3) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def by_autograd(net: Small, maps: list[Tensor], labels: list[int]) -> NDArray[np.float64]:
    """Equations 19 and 10 of the paper as they stand, with the gradients that autograd finds."""
    leaves = [x.detach().double().requires_grad_() for x in maps]
    logits_BK = net.double().eval().classify(*leaves)[0]
    total: Any = 0.0
    size = max(tuple(x.shape[2:]) for x in maps)
    logits_BK[range(len(labels)), labels].sum().backward()
    for leaf in leaves:
        assert leaf.grad is not None
        a, g = leaf.detach().numpy(), leaf.grad.numpy()
        alpha = g**2 / (2 * g**2 + a.sum(axis=(2, 3), keepdims=True) * g**3)
        weights = (alpha * np.maximum(g, 0)).sum(axis=(2, 3), keepdims=True)
        cam = torch.from_numpy((weights * a).sum(axis=1, keepdims=True))
        total = total + F.interpolate(cam, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    return np.asarray(np.maximum(total, 0))


@pytest.mark.parametrize("num_maps", [1, 2])
def test_grad_cam_is_that_of_the_papers_equations(num_maps: int) -> None:
    net, labels = Small(num_maps).eval(), [2, 0, 1]
    images = torch.from_numpy(photographs()).permute(0, 3, 1, 2) / 255.0
    with torch.no_grad():
        maps = net.maps(images)
        got = grad_cam_plus_plus(net.classify, maps, labels).numpy()
    assert got.shape == (3, 8, 8)
    assert got.std() > 0.01
    # float32 against float64
    np.testing.assert_allclose(got, by_autograd(net, maps, labels), rtol=1e-5, atol=1e-6)


def test_grad_cam_is_that_of_the_grad_cam_package() -> None:
    """Needs `pip install --no-deps grad-cam ttach`, as `make test` installs them."""
    package = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    class Logits(nn.Module):
        """The same network with the map as a layer of its own, and a tensor as its answer."""

        def __init__(self, net: Small) -> None:
            super().__init__()
            self.map = nn.Sequential(net.convs[0], nn.ReLU())
            self.classify = net.classify

        def forward(self, image_BCHW: Tensor) -> Tensor:
            logits_BK: Tensor = self.classify(self.map(image_BCHW))[0]
            return logits_BK

    net, labels = Small().eval(), [2, 0, 1]
    images = torch.from_numpy(photographs()).permute(0, 3, 1, 2) / 255.0
    model = Logits(net)
    with package.GradCAMPlusPlus(model=model, target_layers=[model.map]) as theirs:
        expected = theirs(images, [ClassifierOutputTarget(label) for label in labels])
    with torch.no_grad():
        ours = grad_cam_plus_plus(net.classify, net.maps(images), labels).numpy()
    # It scales each map to 0..1, enlarges it to the image, and scales again.
    got = scale_cam_image(scale_cam_image(ours, (SIDE, SIDE)))
    assert expected.std() > 0.1
    # Its denominators are 1e-6 larger; gradients here are about 0.1.
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_sums_that_are_not_positive_give_finite_maps() -> None:
    """Linear bottlenecks and attention make them; the paper's denominator could pass through 0."""
    head = ClassHead((1,), 1)
    head.fc.weight.data.fill_(4.0)
    x = torch.tensor([[[[1.0, -3.0], [0.5, -0.5]]]])  # S = -2, g = 1: 2 + S g is 0
    map_1HW = grad_cam_plus_plus(head, [x], [0])
    torch.testing.assert_close(map_1HW, 2.0 * x[:, 0].relu())


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_explanation_holds_the_deployed_map_of_the_asked_label(exclusive: bool) -> None:
    plain = system(Small(), exclusive)
    explained, labels = rewrite.explained(plain), [1, 1, 2]
    images = photographs()
    explanations = explain(explained, images, labels)
    with torch.no_grad():
        tensors = explained(torch.from_numpy(images))
    bias = plain.networks.get_submodule("net.classify.fc").get_parameter("bias").detach().numpy()
    for index, (each, label) in enumerate(zip(explanations, labels, strict=True)):
        map_Khw, logits_K = tensors["class_map"][index].numpy(), tensors["logits"][index].numpy()
        named = dict(zip(LABELS, map_Khw, strict=True))
        expected_hw = evidence(named, LABELS[label], exclusive)
        np.testing.assert_allclose(each.log_odds_hw, expected_hw, rtol=1e-5, atol=1e-5)
        without = logits_K - bias
        others = np.delete(without, label).mean() if exclusive else 0.0
        mean = each.log_odds_hw.mean()
        np.testing.assert_allclose(mean, without[label] - others, rtol=1e-4, atol=1e-4)
        assert each.grad_cam_hw.min() >= 0
    head = rewrite.class_head(explained)
    assert head is not None
    # Nothing is left that records the maps.
    maps = torch.rand(1, head.channels[0], 4, 4)
    kept = weakref.ref(maps)
    with torch.no_grad():
        head(maps)
    del maps
    assert kept() is None

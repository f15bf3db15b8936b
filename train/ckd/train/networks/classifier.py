"""Any classifier of torchvision, with a new linear layer.

Suffixes: B batch, C channels, h rows and w columns of the last map, T = 1 + h*w tokens, K classes.
"""

import math

import torch
import torchvision.models as tv
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from ckd.train.networks.blocks import ClassHead
from ckd.train.networks.image_input import HalfMeanInput
from ckd.train.networks.pretrained import Pretrained, Weights, imagenet_network

#: Sides of the image that the network is traced with. The last map of a smaller image may be a
#: single point. The second is for networks that take images of no other size.
_SIDE_PX, _FIXED_SIDE_PX = 128, 224


class Classifier(nn.Module):
    """The features of an ImageNet network, their mean over places, a linear layer.

    The layers between the network's last map and its linear layer (dropout, hidden layers such as
    VGG's or MobileNetV3's) are left out: SSD-KD's MobileNetV2 has no dropout either, and class maps
    require that the linear layer follows the mean. For the same reason the tokens of a vision
    transformer's patches are averaged, and its class token is not used.

    Args:
        backbone: torchvision's name of the network.
        num_classes: K.
        weights: see `imagenet_network`.

    Raises:
        UsageError: torchvision has no such network.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """

    def __init__(self, backbone: str, num_classes: int, weights: Weights = None) -> None:
        super().__init__()
        self.encoder = LastMap(backbone, weights)
        self.classify = ClassHead((self.encoder.channels,), num_classes)

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, ...]:
        """Logits [B, K] (and class maps, see `ClassHead`), and the last map [B, C, h, w]."""
        map_BChw = self.encoder(image_BCHW)
        return *self.classify(map_BChw), map_BChw


class LastMap(Pretrained):
    """A torchvision classifier up to its last map before pooling, or its last tokens as a map.

    Attributes:
        channels: C.
    """

    def __init__(self, backbone: str, weights: Weights = None) -> None:
        super().__init__()
        network = imagenet_network(backbone, weights).eval()
        self.rescale: nn.Module = nn.Identity()
        if isinstance(network, tv.GoogLeNet | tv.Inception3):
            network.transform_input = False  # as torchvision's weights set it
            self.rescale = HalfMeanInput()
        graph = _RootTracer().trace(network)
        last, self.channels = _last_map(network, fx.GraphModule(network, graph))
        for node in reversed(graph.nodes):
            if node.op == "output":
                node.args = (last,)
        graph.eliminate_dead_code()
        self.features = fx.GraphModule(network, graph)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        """The last map, [B, C, h, w]."""
        map_BChw: Tensor = self.features(self.rescale(image_BCHW))
        return map_BChw


class _RootTracer(fx.Tracer):
    """Traces only the network's own `forward`, so that its blocks stay modules."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def _last_map(network: nn.Module, traced: fx.GraphModule) -> tuple[fx.Node, int]:
    """The node before pooling and classifier, and its number of channels."""
    graph = traced.graph
    if isinstance(network, tv.VisionTransformer):
        tokens = next(node for node in graph.nodes if node.target == "encoder")
        with graph.inserting_after(tokens):
            return graph.call_function(_patches, (tokens,)), network.hidden_dim
    side_px = _FIXED_SIDE_PX if isinstance(network, tv.MaxVit) else _SIDE_PX
    device = next(network.parameters()).device
    image_BCHW = torch.zeros(1, 3, side_px, side_px, device=device)
    with torch.no_grad():
        ShapeProp(traced).propagate(image_BCHW)

    def shape(node: fx.Node) -> tuple[int, ...]:
        return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))

    def is_past_features(node: fx.Node) -> bool:
        name = str(node.target)
        module = network.get_submodule(name) if node.op == "call_module" else None
        return name in ("fc", "classifier") or isinstance(
            module, nn.AdaptiveAvgPool2d | nn.AvgPool2d | nn.Dropout
        )

    maps = [n for n in graph.nodes if len(shape(n)) == 4 and min(shape(n)[2:]) > 1]
    last: fx.Node = maps[-1]
    while is_past_features(last):
        (last,) = last.all_input_nodes
    return last, shape(last)[1]


def _patches(tokens_BTC: Tensor) -> Tensor:
    """Tokens without the class token, which comes first, as a map of their patches [B, C, h, w]."""
    side = math.isqrt(tokens_BTC.shape[1])
    return tokens_BTC[:, 1:].transpose(1, 2).reshape(len(tokens_BTC), -1, side, side)

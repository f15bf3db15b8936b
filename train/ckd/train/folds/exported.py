"""A node in the form in which it is exported, and in which quantisation-aware training sees it.

Both trace this form, so tensors inside it have the same names in an ONNX file and in training.
"""

import copy
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from ckd.contract.wiring import IMAGE
from ckd.train.networks.image_input import ImageInput
from ckd.train.systems.graph import Node, System, tensor_shapes

#: Precision of a file -> type of its weights and of the tensors between the networks.
TORCH_DTYPES: Final[Mapping[str, torch.dtype]] = {"fp32": torch.float32, "fp16": torch.float16}


class ExportedNode(nn.Module):
    """A node as in its ONNX file: the image comes in as uint8 RGB [1, H, W, 3].

    In half precision the image is normalised in float32 and cast last. Modules that must compute in
    float32 inside a network convert by themselves (`SpatialMean`, `ChannelAttention`).
    """

    def __init__(self, node: Node, precision: str = "fp32") -> None:
        super().__init__()
        self.dtype = TORCH_DTYPES[precision]
        self.network = node.module
        if precision != "fp32":
            self.network = copy.deepcopy(node.module).to(self.dtype)
        self.image_input = ImageInput()
        self.input_names = node.inputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Normalise the image where it is an input, then run the network."""
        prepared = [
            self.image_input(tensor).to(self.dtype) if name == IMAGE else tensor
            for name, tensor in zip(self.input_names, inputs, strict=True)
        ]
        outputs = self.network(*prepared)
        return (outputs,) if isinstance(outputs, Tensor) else outputs


def example_inputs(system: System, node: Node, precision: str = "fp32") -> tuple[Tensor, ...]:
    """Tensors of the right shapes and types for a node."""
    shapes = tensor_shapes(system)
    side = system.image_size
    return tuple(
        torch.zeros(1, side, side, 3, dtype=torch.uint8)
        if name == IMAGE
        else torch.zeros(shapes[name], dtype=TORCH_DTYPES[precision])
        for name in node.inputs
    )

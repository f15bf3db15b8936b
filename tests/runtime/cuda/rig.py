"""Small cascades of exact arithmetic on the recording device, for whatever graph a test needs."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeEngine, Function, Tensors

from ckd.contract.spec import CascadeSpec, NodeSpec, OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.cuda.arrays import DeviceImage
from ckd.runtime.cuda.memory import CudaBuffer
from ckd.runtime.cuda.runner import CudaRunner
from ckd.runtime.engine import Outputs

SIDE: Final = 4
_SHAPE: Final = (1, 1, SIDE, SIDE)

#: Node -> what goes in and what comes out, in running order.
Wiring = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]

CKDNET: Final[Wiring] = {
    "rootseg": ((IMAGE,), ("coarse", "gate1", "gate2")),
    "cls": ((IMAGE, "coarse", "gate1", "gate2"), ("logits", "mean1", "mean2")),
    "seg_encoder": ((IMAGE,), ("g0", "h1")),
    "seg_decoder": (("g0", "h1", "mean1", "mean2"), ("mask",)),
}
CHAIN: Final[Wiring] = {
    "first": ((IMAGE,), ("a",)),
    "second": (("a",), ("b",)),
    "third": (("b",), ("mask",)),
}
DIAMOND: Final[Wiring] = {
    "top": ((IMAGE,), ("a",)),
    "left": (("a",), ("b",)),
    "right": (("a",), ("c",)),
    "bottom": (("b", "c"), ("mask",)),
}
APART: Final[Wiring] = {
    "one": ((IMAGE,), ("coarse",)),
    "two": ((IMAGE,), ("other",)),
    "three": ((IMAGE,), ("mask",)),
}
GRAPHS: Final[Mapping[str, Wiring]] = {
    "ckdnet": CKDNET,
    "chain": CHAIN,
    "diamond": DIAMOND,
    "apart": APART,
}


def spec_of(wiring: Wiring) -> CascadeSpec:
    """Every tensor float32[1, 1, SIDE, SIDE]; "mask" and "coarse" are answers."""
    names = [name for _, outputs in wiring.values() for name in outputs]
    return CascadeSpec(
        name="rig",
        system="rig",
        labels=("a", "b"),
        tasks=(),
        shapes={IMAGE: (1, SIDE, SIDE, 3), **dict.fromkeys(names, _SHAPE)},
        dtypes={IMAGE: {"fp32": "uint8"}, **{name: {"fp32": "float32"} for name in names}},
        nodes=tuple(
            NodeSpec(name, inputs, outputs, {"fp32": f"{name}.onnx"})
            for name, (inputs, outputs) in wiring.items()
        ),
        outputs=OutputSpec(
            mask_logits="mask" if "mask" in names else None,
            coarse_logits="coarse" if "coarse" in names else None,
        ),
    )


def function_of(node: NodeSpec) -> Function:
    """Sums that differ for every input, place and output, and stay whole numbers below 2^24."""

    def run(inputs: Tensors) -> Tensors:
        total = np.zeros(_SHAPE, np.float32)
        for number, name in enumerate(node.inputs):
            values = inputs[name].astype(np.float32)
            if name == IMAGE:
                values = values.sum(-1)[None]
            total = (total * 3 + values * (number + 1)) % 65521
        return {
            name: ((total + np.roll(total, 1, -1) * 2 + number + 1) % 65521).astype(np.float32)
            for number, name in enumerate(node.outputs)
        }

    return run


def tensors_of(spec: CascadeSpec, image: NDArray[np.uint8]) -> Tensors:
    """Every tensor of a graph: the same functions, one after another."""
    tensors: Tensors = {IMAGE: image}
    for node in spec.nodes:
        tensors.update(function_of(node)({name: tensors[name] for name in node.inputs}))
    return tensors


def images(count: int) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(7)
    return [rng.integers(0, 256, (1, SIDE, SIDE, 3), np.uint8) for _ in range(count)]


def on_device(cuda: RecordingCuda, image: NDArray[np.uint8], stream: int) -> DeviceImage:
    """An image that is still on its way in a stream of somebody else."""
    pinned, address = cuda.allocate_pinned(image.nbytes), cuda.allocate(image.nbytes)
    cuda.host_array(pinned, image.shape, "uint8")[...] = image
    cuda.copy(address, pinned, image.nbytes, stream)
    return DeviceImage(address, SIDE, SIDE, None, stream, cuda.index)


class Rig:
    """A device, engines and buffers of a graph, and the runner when it is asked for."""

    def __init__(self, cuda: RecordingCuda, wiring: Wiring = CKDNET) -> None:
        self.cuda = cuda
        self.spec = spec_of(wiring)
        specs = {name: self.spec.tensor(name, "fp32") for name in self.spec.shapes}
        self.buffers = {name: CudaBuffer(spec, cuda) for name, spec in specs.items()}
        self.engines = {
            node.name: FakeEngine(
                cuda,
                tuple(specs[name] for name in node.inputs),
                tuple(specs[name] for name in node.outputs),
                function_of(node),
            )
            for node in self.spec.nodes
        }
        for engine in self.engines.values():
            engine.bind(self.buffers)

    def runner(self, one_stream: int | None = None) -> CudaRunner:
        return CudaRunner(self.cuda, self.spec, self.engines, self.buffers, one_stream=one_stream)

    def close(self) -> None:
        """What a cascade does after its runner is closed."""
        for buffer in self.buffers.values():
            buffer.close()
        for engine in self.engines.values():
            engine.close()

    def check(self, answers: Outputs, image: NDArray[np.uint8]) -> None:
        assert set(answers) == set(self.spec.outputs.names())
        expected = tensors_of(self.spec, image)
        for name, values in answers.items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)

    def check_node(self, name: str, image: NDArray[np.uint8]) -> None:
        """The buffers of a node's outputs hold what belongs to the image."""
        expected = tensors_of(self.spec, image)
        for output in self.spec.node(name).outputs:
            np.testing.assert_array_equal(self.buffers[output].read(), expected[output], output)


def no_lap(step: str) -> None:
    """For whoever does not ask how long it took."""

"""Parts of a chain: prefixes, what a node reads, and other networks in place of a node's own.

The engines are functions of exact arithmetic, on the CPU and on the recording CUDA device.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.cuda.fake_engine import FakeCudaBackend, Function, Tensors
from tests.runtime.cuda.rig import CHAIN, GRAPHS, function_of, images, spec_of

from ckd.contract.errors import EngineError
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.backends.host import HostBuffer, HostRunner
from ckd.runtime.chain import Chain
from ckd.runtime.engine import Backend, DeviceBuffer, Engine, Runner

OWN, OTHER, UNBINDABLE = (Content.of(word) for word in (b"own", b"other", b"cannot be bound"))
ONE, TWO = (image[0] for image in images(2))


class HostFunction:
    """An engine on the CPU that is a function of arrays."""

    def __init__(self, node: NodeSpec, specs: Mapping[str, TensorSpec], function: Function) -> None:
        self.inputs = tuple(specs[name] for name in node.inputs)
        self.outputs = tuple(specs[name] for name in node.outputs)
        self.function = function
        self.buffers: Mapping[str, DeviceBuffer] = {}

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        self.buffers = buffers

    def enqueue(self, stream: int = 0) -> None:
        outputs = self.function({s.name: self.buffers[s.name].read() for s in self.inputs})
        for name, values in outputs.items():
            self.buffers[name].write(values)

    def close(self) -> None:
        self.buffers = {}


class Watched:
    """An engine that says when it is closed, and whose file may be one that cannot be bound."""

    def __init__(self, engine: Engine, name: str, onnx: Content, closed: list[str]) -> None:
        self.engine, self.name, self.closed = engine, name, closed
        self.word = onnx.read()
        self.inputs, self.outputs = engine.inputs, engine.outputs

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        if self.word == UNBINDABLE.read():
            raise EngineError("cannot be bound")
        self.engine.bind(buffers)

    def enqueue(self, stream: int = 0) -> None:
        self.engine.enqueue(stream)

    def close(self) -> None:
        self.closed.append(f"{self.word.decode()} {self.name}")
        self.engine.close()


class Watching:
    """A backend of functions, on the CPU or on a device.

    Attributes:
        ran: names of nodes in the order in which they ran.
        closed: content and node of every engine that was closed.
        num_runners: that were made.
    """

    name = "watching"
    precisions: Mapping[str, str] = {"fp32": "fp32"}

    def __init__(self, cuda: RecordingCuda | None) -> None:
        self.on_device = None if cuda is None else FakeCudaBackend(cuda, self.function)
        self.device = "cpu" if self.on_device is None else self.on_device.device
        self.ran: list[str] = []
        self.closed: list[str] = []
        self.num_runners = 0

    def function(self, node: NodeSpec, onnx: Content) -> Function:
        plain, sign = function_of(node), -1 if onnx.read() == OTHER.read() else 1

        def run(inputs: Tensors) -> Tensors:
            self.ran.append(node.name)
            return {name: sign * values for name, values in plain(inputs).items()}

        return run

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        engine: Engine
        if self.on_device is None:
            engine = HostFunction(node, specs, self.function(node, onnx))
        else:
            engine = self.on_device.load(node, onnx, specs, precision)
        return Watched(engine, node.name, onnx, self.closed)

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        return HostBuffer(spec) if self.on_device is None else self.on_device.allocate(spec)

    def runner(
        self,
        spec: CascadeSpec,
        engines: Mapping[str, Engine],
        buffers: Mapping[str, DeviceBuffer],
    ) -> Runner:
        self.num_runners += 1
        if self.on_device is None:
            return HostRunner(spec, engines, buffers)
        return self.on_device.runner(spec, engines, buffers)


@pytest.fixture(params=["host", "device"])
def backend(request: pytest.FixtureRequest) -> Iterator[Watching]:
    cuda = RecordingCuda() if request.param == "device" else None
    watching = Watching(cuda)
    yield watching
    assert cuda is None or cuda.leaks() == []


def loaded(backend: Backend, spec: CascadeSpec, upto: int | None = None) -> Chain:
    chain = Chain(spec, backend, "fp32")
    for node in spec.nodes[:upto]:
        chain.load(node.name, OWN)
    return chain


def tensors_of(spec: CascadeSpec, image: NDArray[np.uint8], negated: str = "") -> Tensors:
    """Every tensor by plain arithmetic, where one node may be another network."""
    tensors: Tensors = {IMAGE: image[None]}
    for node in spec.nodes:
        outputs = function_of(node)({name: tensors[name] for name in node.inputs})
        sign = -1 if node.name == negated else 1
        tensors.update({name: sign * values for name, values in outputs.items()})
    return tensors


def check(chain: Chain, image: NDArray[np.uint8], negated: str = "") -> None:
    """Its answers, twice: on a device the second frame is a replayed graph."""
    expected = tensors_of(chain.spec, image, negated)
    for _ in range(2):
        outputs = chain.run(image)
        assert set(outputs) == {*chain.spec.outputs.names()}
        for name, values in outputs.items():
            np.testing.assert_array_equal(values, expected[name], err_msg=name)


# Prefixes


@pytest.mark.parametrize("graph", GRAPHS)
def test_outputs_are_in_their_buffers_after_each_step(backend: Watching, graph: str) -> None:
    spec = spec_of(GRAPHS[graph])
    with loaded(backend, spec) as chain:
        for image in (ONE, TWO):
            expected, steps = tensors_of(spec, image), []
            for name in chain.steps(image):
                steps.append(name)
                assert backend.ran[-1] == name
                for tensor in spec.node(name).outputs:
                    values = chain.buffers[tensor].read()
                    np.testing.assert_array_equal(values, expected[tensor], err_msg=tensor)
            assert steps == [node.name for node in spec.nodes]
        check(chain, ONE)


def test_a_prefix_runs_only_the_engines_before(backend: Watching) -> None:
    with loaded(backend, spec_of(CHAIN)) as chain:
        steps = chain.steps(ONE)
        assert backend.ran == []
        assert [next(steps), next(steps)] == ["first", "second"]
        del steps
        assert backend.ran == ["first", "second"]
        check(chain, TWO)  # and nothing of the unfinished frame is left


@pytest.mark.parametrize("graph", GRAPHS)
def test_what_a_node_reads_is_what_the_nodes_before_it_wrote(backend: Watching, graph: str) -> None:
    spec = spec_of(GRAPHS[graph])
    expected = tensors_of(spec, TWO)
    with loaded(backend, spec) as chain:
        chain.run(ONE)
        for place, node in enumerate(spec.nodes):
            backend.ran.clear()
            inputs = chain.inputs_of(node.name, TWO)
            assert backend.ran == [before.name for before in spec.nodes[:place]]
            assert tuple(inputs) == node.inputs
            for name, values in inputs.items():
                np.testing.assert_array_equal(values, expected[name], err_msg=name)


# Loading one by one


def test_networks_are_loaded_one_by_one_each_after_what_it_reads(backend: Watching) -> None:
    spec = spec_of(CHAIN)
    expected = tensors_of(spec, ONE)
    with Chain(spec, backend, "fp32") as chain:
        for node in spec.nodes:  # as calibration does, which decides on a network by its inputs
            for name, values in chain.inputs_of(node.name, ONE).items():
                np.testing.assert_array_equal(values, expected[name], err_msg=name)
            chain.load(node.name, OWN)
            assert list(chain.engines)[-1] == node.name
        check(chain, ONE)
        check(chain, TWO)
    assert backend.closed == [f"own {node.name}" for node in reversed(spec.nodes)]


def test_a_network_that_is_added_makes_another_runner(backend: Watching) -> None:
    spec = spec_of(CHAIN)
    with loaded(backend, spec, 2) as chain:
        chain.inputs_of("third", ONE)
        first, num_runners = chain.runner, backend.num_runners
        assert chain.runner is first
        chain.load("third", OWN)
        assert chain.runner is not first
        assert backend.num_runners == num_runners + 1
        check(chain, ONE)


def test_a_network_that_cannot_be_bound_is_closed_and_not_kept(backend: Watching) -> None:
    spec = spec_of(CHAIN)
    with loaded(backend, spec, 2) as chain:
        with pytest.raises(EngineError, match="cannot be bound"):
            chain.load("third", UNBINDABLE)
        assert backend.closed == ["cannot be bound third"]
        assert list(chain.engines) == ["first", "second"]
        chain.load("third", OWN)
        check(chain, ONE)


# Another network in place of a node's own


@pytest.mark.parametrize("node", CHAIN)
def test_another_network_runs_for_a_while_and_then_the_own_again(
    backend: Watching, node: str
) -> None:
    with loaded(backend, spec_of(CHAIN)) as chain:
        check(chain, ONE)
        runners = [chain.runner]
        with chain.replaced(node, OTHER):
            check(chain, ONE, negated=node)
            check(chain, TWO, negated=node)
            runners.append(chain.runner)
            assert backend.closed == []
        assert backend.closed == [f"other {node}"]
        check(chain, TWO)
        runners.append(chain.runner)
        assert all(one is not other for one, other in pairwise(runners))
        assert list(chain.engines) == [*CHAIN]  # in running order still


def fail_after(chain: Chain) -> None:
    check(chain, ONE, negated="second")
    raise ZeroDivisionError


def test_the_own_network_is_back_also_after_an_error(backend: Watching) -> None:
    with loaded(backend, spec_of(CHAIN)) as chain:
        with pytest.raises(ZeroDivisionError), chain.replaced("second", OTHER):
            fail_after(chain)
        assert backend.closed == ["other second"]
        check(chain, ONE)


def test_a_replacement_that_cannot_be_bound_is_closed_and_changes_nothing(
    backend: Watching,
) -> None:
    with loaded(backend, spec_of(CHAIN)) as chain:
        check(chain, ONE)
        runner = chain.runner
        with (
            pytest.raises(EngineError, match="cannot be bound"),
            chain.replaced("first", UNBINDABLE),
        ):
            raise AssertionError("it went on")
        assert backend.closed == ["cannot be bound first"]
        assert chain.runner is runner
        check(chain, TWO)

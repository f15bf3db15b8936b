"""The chain of networks: shared buffers, prefixes, other engines, and clean ends of every kind.

Suffixes: H rows, W columns, C channels in RGB order, S network side in pixels.
"""

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.runtime.photographs import NODES, SIDE, chained, photo

from ckd.contract.bundle import Bundle
from ckd.contract.errors import (
    BundleError,
    EngineError,
    UsageError,
)
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime.backends.host import HostRunner
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBuffer
from ckd.runtime.engine import DeviceBuffer, Engine

pytestmark = pytest.mark.usefixtures("only_onnxruntime")


# Tensors


def test_every_tensor_equals_plain_chaining(cascade: Cascade, tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    for seed in range(3):
        small_SSC = network_image(photo(seed), SIDE)
        expected = chained(bundle, small_SSC)
        tensors = cascade.chain.run_all(small_SSC)
        assert set(tensors) == set(expected) == set(bundle.spec.shapes)
        for name, tensor in expected.items():
            # The same kernels; only the number of threads may change the order of sums.
            np.testing.assert_allclose(tensors[name], tensor, rtol=1e-5, atol=1e-6, err_msg=name)


def test_every_edge_matters(cascade: Cascade) -> None:
    """Each tensor, set to zero on its way, changes an answer: no wire hangs loose."""
    small_SSC = network_image(photo(0), SIDE)
    intact = cascade.chain.run_all(small_SSC)
    last = {name: node.name for node in cascade.spec.nodes for name in node.outputs}
    for tensor in (name for node in cascade.spec.nodes for name in node.inputs):
        if tensor == IMAGE:
            continue
        cascade.chain.buffers[IMAGE].write(small_SSC[None])
        for name, engine in cascade.chain.engines.items():
            engine.enqueue()
            if name == last[tensor]:
                cascade.chain.buffers[tensor].write(np.zeros_like(intact[tensor]))
        answers = cascade.spec.outputs.names()
        changed = [a for a in answers if (cascade.chain.buffers[a].read() != intact[a]).any()]
        assert changed, tensor


@pytest.mark.parametrize("shape", [(32, 32, 4), (64, 64, 3), (32, 32), (1, 32, 32, 3)])
def test_running_on_another_size_is_refused(cascade: Cascade, shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=r"image: expected uint8\[1, 32, 32, 3\]"):
        cascade.chain.run_all(np.zeros(shape, np.uint8))


# Buffers


def address(cascade: Cascade, name: str) -> int:
    buffer = cascade.chain.buffers[name]
    assert isinstance(buffer, OnnxRuntimeBuffer)
    assert buffer.value.data_ptr() == buffer.array.ctypes.data
    return buffer.array.ctypes.data


def test_every_tensor_has_one_buffer_for_good(cascade: Cascade) -> None:
    before = {name: address(cascade, name) for name in cascade.chain.buffers}
    assert set(before) == set(cascade.spec.shapes)
    assert len(set(before.values())) == len(before)
    for seed in range(5):
        cascade.predict(photo(seed))
    assert {name: address(cascade, name) for name in cascade.chain.buffers} == before


def test_a_consumer_reads_in_place_what_its_producer_wrote(
    cascade: Cascade, tiny_bundle: Path
) -> None:
    small_SSC = network_image(photo(0), SIDE)
    expected = chained(Bundle(tiny_bundle), small_SSC)
    for buffer in cascade.chain.buffers.values():
        buffer.read()[...] = 0
    cascade.chain.buffers[IMAGE].write(small_SSC[None])
    cascade.chain.engines["rootseg"].enqueue()  # nobody copies anything from here on
    np.testing.assert_allclose(cascade.chain.buffers["gate1"].read(), expected["gate1"], rtol=1e-5)
    cascade.chain.engines["cls"].enqueue()
    np.testing.assert_allclose(
        cascade.chain.buffers["logits"].read(), expected["logits"], rtol=1e-4
    )
    cascade.chain.buffers["gate1"].read()[...] = 0  # written past the engines, into shared memory
    cascade.chain.engines["cls"].enqueue()
    changed = cascade.chain.buffers["logits"].read()
    assert np.abs(changed - expected["logits"]).max() > 1e-3


def test_200_predictions_leave_no_memory_behind(cascade: Cascade) -> None:
    image_HWC = photo(0)
    for _ in range(50):
        cascade.predict(image_HWC)
    tracemalloc.start()
    try:
        cascade.predict(image_HWC)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            cascade.predict(image_HWC)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # one mask is 5 kB
    assert peak - before < 300_000


# What fails half way


class FakeEngine:
    """Counts how often it was closed."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, log: list[str], name: str, fails_at: str) -> None:
        self.log, self.name, self.fails_at = log, name, fails_at

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        if self.fails_at == f"bind {self.name}":
            raise EngineError("cannot bind")

    def enqueue(self, stream: int = 0) -> None:
        raise AssertionError("not to be run")

    def close(self) -> None:
        self.log.append(self.name)


class FakeBackend:
    """Fails at one step of loading."""

    name = "fake"
    device = "cpu"
    precisions: Mapping[str, str] = {"fp32": "fp32"}

    def __init__(self, fails_at: str, error: BaseException) -> None:
        self.fails_at, self.error = fails_at, error
        self.closed: list[str] = []

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        onnx.read()
        if self.fails_at == f"load {node.name}":
            raise self.error
        return FakeEngine(self.closed, node.name, self.fails_at)

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        if self.fails_at == f"allocate {spec.name}":
            raise self.error
        return OnnxRuntimeBuffer(spec)

    def runner(self, *given: Any) -> HostRunner:
        return HostRunner(*given)


@pytest.mark.parametrize(
    ("fails_at", "error", "closed"),
    [
        ("load rootseg", EngineError("no"), []),
        ("load cls", EngineError("no"), ["rootseg"]),
        ("load seg_decoder", KeyboardInterrupt(), ["rootseg", "cls", "seg_encoder"]),
        ("allocate gate3", MemoryError(), NODES),
        ("bind seg_encoder", EngineError("cannot bind"), NODES),
    ],
)
def test_what_fails_half_way_closes_what_was_opened(
    tiny_bundle: Path, fails_at: str, error: BaseException, closed: list[str]
) -> None:
    backend = FakeBackend(fails_at, error)
    with pytest.raises(type(error)):
        Cascade(Bundle(tiny_bundle), backend, "fp32")
    assert backend.closed == closed[::-1]  # last opened, first closed


def test_a_file_changed_after_opening_closes_what_was_opened(bundle_copy: Path) -> None:
    bundle, backend = Bundle(bundle_copy), FakeBackend("never", EngineError(""))
    (bundle_copy / "cls.fp32.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="was changed"):
        Cascade(bundle, backend, "fp32")
    assert backend.closed == ["rootseg"]


def test_a_precision_that_the_bundle_lacks_is_refused(tiny_bundle: Path) -> None:
    backend = FakeBackend("never", EngineError(""))
    backend.precisions = {"int8": "int8"}
    with pytest.raises(UsageError, match=r"no int8 networks in this bundle; it has fp32; "):
        Cascade(Bundle(tiny_bundle), backend, "int8")

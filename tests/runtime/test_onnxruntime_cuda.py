"""The CUDA backend of ONNX Runtime against a stand-in for its GPU build.

The stand-in takes host memory for the device's and computes on the CPU, so what is bound by address
is really read and written. What it cannot show is told by `tests/gpu/test_onnxruntime_cuda.py`.
"""

import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import SEEDS, RecordingCuda
from tests.runtime.fake_onnxruntime import CPU, CUDA, GpuBuild
from typing_extensions import override

from ckd.benchmarks.gpu.meter import Meter
from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, EngineError, EnvironmentUnusable
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.backends import onnxruntime_cuda as module
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.backends.onnxruntime_cuda import OnnxRuntimeCudaBackend, OnnxRuntimeCudaEngine
from ckd.runtime.cascade import Cascade
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine import BuiltEngine, DeviceBuffer, EngineBuilder


class Streams:
    """The part of CUDA that the backend itself uses."""

    index = 1
    is_primary = True

    def __init__(self) -> None:
        self.alive: list[int] = []
        self.num_made = 0

    def create_stream(self) -> int:
        self.num_made += 1
        self.alive.append(0x5000 + self.num_made)
        return self.alive[-1]

    def destroy_stream(self, stream: int) -> None:
        self.alive.remove(stream)


class Buffer(DeviceBuffer):
    """Host memory that stands in for the device's."""

    def __init__(self, spec: TensorSpec) -> None:
        self.spec = spec
        self.array: NDArray[Any] = np.zeros(spec.shape, spec.dtype)
        self.address = self.array.ctypes.data

    @override
    def write(self, array: NDArray[Any]) -> None:
        self.array[...] = array

    @override
    def read(self) -> NDArray[Any]:
        return self.array

    @override
    def close(self) -> None:
        """Nothing: the memory is the test's."""


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> GpuBuild:
    made = GpuBuild()
    monkeypatch.setattr(module, "ort", made)
    return made


@pytest.fixture
def streams() -> Streams:
    return Streams()


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle(tiny_bundle)


def backend_on(streams: Streams) -> OnnxRuntimeCudaBackend:
    return OnnxRuntimeCudaBackend(cast(Cuda, streams))


def load(
    backend: OnnxRuntimeCudaBackend, bundle: Bundle, index: int = 0
) -> tuple[OnnxRuntimeCudaEngine, dict[str, DeviceBuffer]]:
    spec = bundle.spec
    node = spec.nodes[index]
    specs = {name: spec.tensor(name, "fp32") for name in spec.shapes}
    engine = backend.load(node, bundle.content(node.files["fp32"]), specs, "fp32")
    return engine, {name: Buffer(specs[name]) for name in (*node.inputs, *node.outputs)}


def test_the_cpu_build_is_refused_with_the_package_that_is_needed() -> None:
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this is the GPU build of ONNX Runtime")
    with pytest.raises(
        EnvironmentUnusable,
        match=r"built without CUDA.*uninstall onnxruntime onnxruntime-gpu.*'onnxruntime-gpu\[cuda",
    ):
        backend_on(Streams())


def test_what_it_misses_goes_to_stderr(
    build: GpuBuild, streams: Streams, capsys: pytest.CaptureFixture[str]
) -> None:
    assert backend_on(streams).device == "cuda:1"
    *folders, last = build.preloaded
    assert last is None
    assert all(folder is not None and folder.endswith("/lib") for folder in folders)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "Failed to load libcufft.so.12\n")


def test_another_context_than_the_primary_one_is_refused(
    build: GpuBuild, streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "is_primary", False)
    with pytest.raises(EnvironmentUnusable, match="primary CUDA context"):
        backend_on(streams)
    assert build.preloaded == []


def test_all_sessions_share_one_stream_and_compute_in_fp32(
    build: GpuBuild, streams: Streams, bundle: Bundle
) -> None:
    backend = backend_on(streams)
    engines = [load(backend, bundle, index)[0] for index in range(2)]
    assert len(streams.alive) == 1
    for session in build.sessions:
        assert session.settings["user_compute_stream"] == str(streams.alive[0])
        assert session.settings["device_id"] == "1"
        assert session.settings["use_tf32"] == "0"
        assert "enable_cuda_graph" not in session.settings
    for engine in engines:
        assert len(streams.alive) == 1
        engine.close()
        engine.close()
    assert streams.alive == []
    load(backend, bundle)
    assert streams.num_made == 2


def test_an_engine_reads_and_writes_device_memory_by_address(
    build: GpuBuild, streams: Streams, bundle: Bundle
) -> None:
    backend = backend_on(streams)
    engine, buffers = load(backend, bundle)
    assert not isinstance(backend, EngineBuilder)
    assert not isinstance(engine, BuiltEngine)
    engine.bind(buffers)
    (session,) = build.sessions
    device, index, element, shape, address = session.binding.outputs["coarse_logits"]
    assert (device, index, element, shape) == ("cuda", 1, np.float32, [1, 1, 8, 8])
    assert address == cast(Buffer, buffers["coarse_logits"]).address
    assert {*session.binding.inputs, *session.binding.outputs} == set(buffers)
    for seed in range(2):
        image = np.random.default_rng(seed).integers(0, 256, (1, 32, 32, 3), np.uint8)
        buffers[IMAGE].write(image)
        engine.enqueue(streams.alive[0])
        (expected,) = session.real.run(["coarse_logits"], {IMAGE: image})
        np.testing.assert_array_equal(buffers["coarse_logits"].read(), expected)
    assert session.runs == ["1", "1"]  # it was told not to wait


def test_another_stream_is_refused(build: GpuBuild, streams: Streams, bundle: Bundle) -> None:
    engine, buffers = load(backend_on(streams), bundle)
    engine.bind(buffers)
    with pytest.raises(EngineError, match=r"rootseg: its session works on stream 0x5001 only"):
        engine.enqueue(0x77)
    assert build.sessions[0].runs == []


def test_a_fall_back_to_the_cpu_is_an_error(
    monkeypatch: pytest.MonkeyPatch, streams: Streams, bundle: Bundle
) -> None:
    monkeypatch.setattr(module, "ort", GpuBuild(took=CPU))
    with pytest.raises(EngineError, match=r"rootseg: .* cuda:1 and fell back to the CPU; .*cuDNN"):
        load(backend_on(streams), bundle)
    assert streams.alive == []


def test_a_session_that_cannot_be_made_leaves_nothing_behind(
    build: GpuBuild, streams: Streams, bundle: Bundle
) -> None:
    build.fails_with = RuntimeError("Failed to allocate memory for requested buffer of size 9")
    with pytest.raises(EngineError, match=r"cannot load rootseg on cuda:1: .*--device cpu"):
        load(backend_on(streams), bundle)
    assert streams.alive == []


def test_a_file_that_breaks_its_promise_leaves_nothing_behind(
    build: GpuBuild, streams: Streams, bundle: Bundle
) -> None:
    spec = bundle.spec
    node = spec.nodes[0]
    specs = {name: TensorSpec(name, (1, 9)) for name in spec.shapes}
    with pytest.raises(BundleError, match=r"rootseg: the file takes"):
        backend_on(streams).load(node, bundle.content(node.files["fp32"]), specs, "fp32")
    assert streams.alive == []


def test_operators_left_to_the_cpu_are_told(
    build: GpuBuild, streams: Streams, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load(backend_on(streams), bundle)
        assert caplog.messages == []
        build.leaves_some = True
        load(backend_on(streams), bundle)
    (message,) = caplog.messages
    assert "rootseg: 3 operators have no CUDA kernel" in message
    assert message.endswith("(Loop, Resize)")
    assert build.sessions[0].recorded == "1"


def test_what_fails_in_a_run_is_one_error(
    build: GpuBuild, streams: Streams, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, buffers = load(backend_on(streams), bundle)
    engine.bind(buffers)

    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA failure 2: out of memory ; GPU=0\n at /build/cuda_call.cc:129")

    monkeypatch.setattr(build.sessions[0], "run_with_iobinding", fail)
    with pytest.raises(EngineError, match=r"^rootseg failed: CUDA failure 2: [^\n]* GPU memory is"):
        engine.enqueue(streams.alive[0])
    engine.close()
    with pytest.raises(EngineError, match="rootseg is closed"):
        engine.enqueue(0)


def test_int8_is_not_offered() -> None:
    assert OnnxRuntimeCudaBackend.precisions == {"fp32": "fp32", "fp16": "fp16"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cascade_on_one_stream_answers_in_whatever_order_work_is_done(
    seed: int, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda = RecordingCuda(seed)
    meter = Meter(cuda)
    monkeypatch.setattr(module, "ort", GpuBuild(cuda=cuda))
    cascade = Cascade(bundle, OnnxRuntimeCudaBackend(cast(Cuda, meter)), "fp32")
    with cascade, Cascade(bundle, OnnxRuntimeBackend(1), "fp32") as on_cpu:
        for image in np.random.default_rng(seed).integers(0, 256, (3, 32, 32, 3), np.uint8):
            meter.start()
            finding, expected = cascade.predict(image), on_cpu.predict(image)
            assert finding.probabilities == pytest.approx(expected.probabilities)
            assert finding.mask_HW is not None
            assert expected.mask_HW is not None
            np.testing.assert_array_equal(finding.mask_HW, expected.mask_HW)
            copies = meter.copies()
            assert (copies.num_in, copies.bytes_in, copies.num_out) == (1, 32 * 32 * 3, 1)
            assert meter.stop() > 0.0
    meter.close()
    assert cuda.num_launches == 0  # sessions on a stream of their own are not captured
    assert cuda.leaks() == []

"""Backends: which there are, and what each does with buffers that it was given."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.runtime.acceptance import run_acceptance
from ckd.runtime.backends import selection
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeBuffer
from ckd.runtime.backends.selection import BACKENDS, chosen_device, installed, open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.engine import Backend, BuiltEngine, DeviceBuffer, Engine, EngineBuilder


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle(tiny_bundle)


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each backend in turn; what they share is tested of all."""
    pytest.importorskip(BACKENDS[request.param][0])
    return open_backend(request.param, "cpu", 1)


def load(backend: Backend, bundle: Bundle, index: int) -> tuple[Engine, dict[str, DeviceBuffer]]:
    """One node of the tiny bundle and buffers for its tensors."""
    spec = bundle.spec
    node = spec.nodes[index]
    specs = {name: spec.tensor(name, "fp32") for name in spec.shapes}
    engine = backend.load(node, bundle.content(node.files["fp32"]), specs, "fp32")
    buffers = {name: backend.allocate(specs[name]) for name in (*node.inputs, *node.outputs)}
    return engine, buffers


def test_every_backend_has_a_package_and_a_remedy() -> None:
    for package, remedy in BACKENDS.values():
        assert package.isidentifier()
        assert remedy.startswith("pip install ")
    assert set(installed()) <= set(BACKENDS)
    assert "onnxruntime" in installed()


def test_auto_takes_the_best_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_backend("auto", "auto", 1)
    assert (opened.name, opened.device) == (installed()[0], "cpu")
    monkeypatch.setattr(selection, "installed", lambda: ())
    with pytest.raises(EnvironmentUnusable, match="no inference backend is installed"):
        open_backend("auto", "auto", None)


def test_a_request_that_cannot_be_met_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown backend 'trt'; expected auto, "):
        open_backend("trt", "auto", None)
    for device in ("gpu", "cuda:", "cuda:x", "cuda:-1", "CUDA", ""):
        with pytest.raises(UsageError, match=f"unknown device '{device}'; expected auto, cpu, cu"):
            open_backend("onnxruntime", device, None)


# Which device


class OneGpu:
    def __init__(self, device: str) -> None:
        self.device = device

    def properties(self) -> object:
        return SimpleNamespace(compute_capability=(9, 0))


class Gpu:
    """A GPU backend that was opened, and on what."""

    name = "tensorrt"

    def __init__(self, cuda: OneGpu) -> None:
        self.device = cuda.device


class GpuOfOnnxRuntime(Gpu):
    name = "onnxruntime"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets up a machine with or without a GPU and TensorRT."""

    def set_up(
        *,
        gpu: bool,
        tensorrt: bool = True,
        onnxruntime: bool = True,
        capabilities: tuple[str, ...] | None = None,
    ) -> None:
        def why() -> str | None:
            return None if gpu else "there is no driver"

        def open_cuda(device: str) -> OneGpu:
            if not gpu:
                raise EnvironmentUnusable("there is no driver")
            return OneGpu(device)

        from ckd.runtime.backends.tensorrt import backend as trt_backend

        monkeypatch.setattr(trt_backend, "TensorRtBackend", Gpu)
        monkeypatch.setattr(selection, "why_no_gpu", why)
        for name, content in (
            ("cuda.bindings", {"open_cuda": open_cuda}),
            ("backends.onnxruntime_cuda", {"OnnxRuntimeCudaBackend": GpuOfOnnxRuntime}),
        ):
            module = ModuleType(f"ckd.runtime.{name}")
            vars(module).update(content)
            monkeypatch.setitem(sys.modules, module.__name__, module)
        fake = ModuleType("tensorrt")
        fake.__spec__ = ModuleSpec("tensorrt", None)
        if capabilities is not None:
            vars(fake)["ComputeCapability"] = SimpleNamespace(**dict.fromkeys(capabilities, 0))
        monkeypatch.setitem(sys.modules, "tensorrt", fake if tensorrt else None)
        for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
            monkeypatch.setitem(sys.modules, name, None)
        if not onnxruntime:
            monkeypatch.setitem(sys.modules, "onnxruntime", None)

    return set_up


@pytest.mark.parametrize(
    ("name", "device", "expected"),
    [
        ("auto", "auto", "cuda"),
        ("auto", "cpu", "cpu"),
        ("auto", "cuda:1", "cuda:1"),
        ("onnxruntime", "auto", "cpu"),
        ("openvino", "auto", "cpu"),
        ("tensorrt", "auto", "cuda"),
        ("onnxruntime", "cuda", "cuda"),
    ],
)
def test_a_gpu_is_taken_if_asked_for_or_if_all_is_there(
    machine: Callable[..., None], name: str, device: str, expected: str
) -> None:
    machine(gpu=True)
    assert chosen_device(name, device) == expected


@pytest.mark.parametrize(("gpu", "tensorrt"), [(False, True), (True, False), (False, False)])
def test_auto_stays_on_the_cpu_unless_both_are_there(
    machine: Callable[..., None], gpu: bool, tensorrt: bool
) -> None:
    machine(gpu=gpu, tensorrt=tensorrt)
    assert chosen_device("auto", "auto") == "cpu"
    assert open_backend("auto", "auto", 1).device == "cpu"


def test_without_tensorrt_nobody_looks_for_a_driver(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(gpu=True, tensorrt=False)
    monkeypatch.setattr(selection, "why_no_gpu", lambda: pytest.fail("looked"))
    assert chosen_device("auto", "auto") == "cpu"


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_backends_are_opened_on_the_gpu_that_was_named(
    machine: Callable[..., None], device: str
) -> None:
    machine(gpu=True, tensorrt=False)
    for name in ("auto", "onnxruntime"):
        opened = open_backend(name, device, None)
        assert isinstance(opened, Gpu)
        assert opened.device == device


@pytest.mark.parametrize(
    ("capabilities", "taken"),
    [(None, "tensorrt"), (("SM89", "SM90"), "tensorrt"), (("SM89", "SM120"), "onnxruntime")],
)
def test_auto_takes_no_tensorrt_that_is_for_other_gpus(
    machine: Callable[..., None], capabilities: tuple[str, ...] | None, taken: str
) -> None:
    machine(gpu=True, capabilities=capabilities)
    assert open_backend("auto", "cuda", None).name == taken
    assert open_backend("tensorrt", "cuda", None).name == "tensorrt"  # it was asked for


@pytest.mark.parametrize(
    ("name", "device", "said"),
    [
        ("openvino", "cuda:0", "openvino runs on the CPU here; for cuda:0: --backend tensorrt or"),
        ("tensorrt", "cpu", "tensorrt runs on a GPU: --device cuda, or another backend"),
    ],
)
def test_pairs_that_cannot_be_are_refused_with_the_way_out(
    name: str, device: str, said: str
) -> None:
    with pytest.raises(UsageError, match=f"^{said}"):
        open_backend(name, device, None)


def test_what_a_gpu_needs_is_said(machine: Callable[..., None]) -> None:
    machine(gpu=False, tensorrt=False)
    with pytest.raises(EnvironmentUnusable, match="TensorRT is not installed; JetPack brings it"):
        open_backend("tensorrt", "cuda", None)
    with pytest.raises(EnvironmentUnusable, match="there is no driver"):
        open_backend("onnxruntime", "cuda", None)
    machine(gpu=False, tensorrt=False, onnxruntime=False)
    with pytest.raises(EnvironmentUnusable, match="neither TensorRT nor ONNX Runtime is installed"):
        open_backend("auto", "cuda", None)


def test_threads_default_to_the_cores_this_process_may_use() -> None:
    backend = OnnxRuntimeBackend()
    assert backend.num_threads == len(os.sched_getaffinity(0))
    assert OnnxRuntimeBackend(3).num_threads == 3


def test_a_node_states_its_inputs_and_outputs(backend: Backend, bundle: Bundle) -> None:
    engine, _ = load(backend, bundle, 1)
    assert [str(spec) for spec in engine.inputs[:2]] == [
        "image uint8[1, 32, 32, 3]",
        "coarse_logits float32[1, 1, 8, 8]",
    ]
    assert [spec.name for spec in engine.outputs] == ["logits", "mean1", "mean2", "mean3", "mean4"]


def test_what_is_compiled_here_has_to_prove_itself_and_nothing_else(
    backend: Backend, bundle: Bundle
) -> None:
    engine, _ = load(backend, bundle, 0)
    compiles = backend.name == "openvino"
    assert isinstance(backend, EngineBuilder) == isinstance(engine, BuiltEngine) == compiles


def test_an_engine_reads_and_writes_the_buffers_it_was_bound_to(
    backend: Backend, bundle: Bundle
) -> None:
    engine, buffers = load(backend, bundle, 0)
    engine.bind(buffers)
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    node = bundle.spec.nodes[0]
    plain = onnxruntime.InferenceSession(bundle.read(node.files["fp32"]))
    for brightness in (1, 2):
        buffers[IMAGE].write(image // np.uint8(brightness))
        engine.enqueue()
        expected = plain.run(list(node.outputs), {IMAGE: image // np.uint8(brightness)})
        for name, tensor in zip(node.outputs, expected, strict=True):
            np.testing.assert_allclose(buffers[name].read(), tensor, rtol=1e-3, atol=1e-4)


def test_a_buffer_is_one_piece_of_memory() -> None:
    buffer = OnnxRuntimeBuffer(TensorSpec("t", (1, 3), "float16"))
    assert buffer.value.data_ptr() == buffer.read().ctypes.data
    buffer.write(np.array([[1, 2, 3]], np.float16))
    assert buffer.value.numpy().tolist() == [[1, 2, 3]]
    assert buffer.read() is buffer.read()
    assert buffer.value.data_ptr() == buffer.read().ctypes.data


@pytest.mark.parametrize(
    "array",
    [np.zeros((1, 4), np.float32), np.zeros((1, 3), np.float64), np.zeros(3, np.float32)],
)
def test_a_buffer_takes_only_what_it_was_made_for(backend: Backend, array: NDArray[Any]) -> None:
    buffer = backend.allocate(TensorSpec("t", (1, 3)))
    with pytest.raises(EngineError, match=r"t: expected float32\[1, 3\], got "):
        buffer.write(array)


def test_a_whole_cascade_passes_its_acceptance_cases(backend: Backend, bundle: Bundle) -> None:
    with Cascade(bundle, backend, "fp32") as cascade:
        assert all(case.passed for case in run_acceptance(cascade.chain, bundle))
        pointers = {
            name: buffer.read().ctypes.data for name, buffer in cascade.chain.buffers.items()
        }
        cascade.warmup()
        assert pointers == {n: b.read().ctypes.data for n, b in cascade.chain.buffers.items()}


def test_openvino_computes_in_what_it_was_asked_for(bundle: Bundle) -> None:
    pytest.importorskip("openvino")
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    logits = {}
    for name, precision in (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        with Cascade(bundle, open_backend(name, "cpu", 1), precision) as cascade:
            logits[name, precision] = cascade.chain.run_all(image)["mask_logits"]
    reference = logits["onnxruntime", "fp32"]
    np.testing.assert_allclose(logits["openvino", "fp32"], reference, atol=1e-3)
    # Random weights amplify rounding; and without bfloat16 instructions it computes in FP32.
    correlation = np.corrcoef(logits["openvino", "bf16"].ravel(), reference.ravel())[0, 1]
    assert correlation > 0.9


def test_a_closed_engine_says_so(backend: Backend, bundle: Bundle) -> None:
    engine, buffers = load(backend, bundle, 0)
    engine.bind(buffers)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=r"^rootseg is closed$"):
        engine.enqueue()


def test_what_fails_while_running_is_one_line(bundle: Bundle) -> None:
    engine, _ = load(OnnxRuntimeBackend(1), bundle, 2)
    with pytest.raises(EngineError, match=r"^seg_encoder failed: ") as caught:
        engine.enqueue()  # nothing is bound
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_what_cannot_be_loaded_is_one_line_and_keeps_its_cause(
    backend: Backend, bundle: Bundle
) -> None:
    node = bundle.spec.nodes[0]
    with pytest.raises(EngineError, match=r"^cannot load rootseg: ") as caught:
        backend.load(node, Content.of(b"no network"), {}, "fp32")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(("kind", "shape"), [("FLOAT", ["N", 2]), ("DOUBLE", [1, 2])])
def test_a_network_of_unknown_shape_or_type_is_refused(
    backend: Backend, kind: str, shape: list[Any]
) -> None:
    onnx = pytest.importorskip("onnx")
    element = getattr(onnx.TensorProto, kind)
    ends = [onnx.helper.make_tensor_value_info(name, element, shape) for name in ("x", "y")]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:]
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    node = NodeSpec("odd", ("x",), ("y",), {"fp32": "odd.onnx"})
    specs = {name: TensorSpec(name, (1, 2)) for name in ("x", "y")}
    with pytest.raises(EngineError, match=r"^x: .* is no static tensor of a known type"):
        backend.load(node, Content.of(model.SerializeToString()), specs, "fp32")


TWO_CLOSED_IN_ORDER = """
import gc, os, signal, sys, time
from ckd.runtime import Cascade
signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
one = Cascade.load(sys.argv[1], "openvino")
two = Cascade.load(sys.argv[1], "openvino")
one.close(); del one; gc.collect()
two.close(); del two; gc.collect()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_signals_work_after_cascades_were_closed(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")
    done = subprocess.run(
        [sys.executable, "-c", TWO_CLOSED_IN_ORDER, str(tiny_bundle)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr

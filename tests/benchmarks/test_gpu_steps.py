"""One turn of each contender, and what it is opened with on a GPU."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.fake_onnxruntime import GpuBuild

from ckd.benchmarks.gpu.cascade_step import one_after_another, open_ckd
from ckd.benchmarks.gpu.meter import Copies, Meter
from ckd.benchmarks.gpu.pytorch import TorchStep, full_precision, idle_compilers_after, torch_system
from ckd.benchmarks.gpu.steps import OnnxStep
from ckd.benchmarks.gpu.subject import Subject
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.runtime.backends import onnxruntime_cuda
from ckd.runtime.cuda.schedule import plan_streams

SIDE = 32
IMAGES = np.zeros((1, SIDE, SIDE, 3), np.uint8)


def test_half_precision_normalises_the_image_in_float32(subject: Subject) -> None:
    half = torch_system(subject.system, "fp16", "cpu")
    image = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    prepared = half.image_input(image)
    assert prepared.dtype == torch.float16
    torch.testing.assert_close(prepared, subject.system.image_input(image).half(), rtol=0, atol=0)
    assert {weights.dtype for weights in half.parameters()} == {torch.float16}
    assert {weights.dtype for weights in subject.system.parameters()} == {torch.float32}


def test_a_closed_torch_step_holds_no_weights(subject: Subject) -> None:
    step = TorchStep(
        torch_system(subject.system, "fp32", "cpu"), IMAGES, "cpu", compiled=True, compiler="eager"
    )  # fmt: skip
    step()
    step.close()
    with pytest.raises(EngineError, match="has been closed"):
        step()


@pytest.mark.system
def test_torch_compile_itself_runs_the_networks(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = torch_system(subject.system, "fp32", "cpu")
    with idle_compilers_after():
        step = TorchStep(system, IMAGES, "cpu", compiled=True)
    plain = TorchStep(system, IMAGES, "cpu")
    step()
    plain()
    for name, values in plain.logits().items():
        np.testing.assert_allclose(step.logits()[name], values, atol=1e-5)
    assert step.caveat == ""  # on a CPU nobody expects CUDA graphs
    monkeypatch.setattr(step, "device", "cuda:0")
    assert step.caveat == ", no CUDA graphs"  # and torch has counted that there are none
    step.close()


def test_float32_is_exact_while_it_is_measured() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        with full_precision():
            assert not matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """ONNX Runtime's GPU build, which here always falls back; and torch's streams."""
    asked: dict[str, Any] = {}

    class Session:
        def __init__(self, path: str, providers: list[Any], enable_fallback: int) -> None:
            ((provider, settings),) = providers
            asked.update(path=path, provider=provider, enable_fallback=enable_fallback, **settings)

        def get_providers(self) -> list[str]:
            return [str(asked.get("took", "CPUExecutionProvider"))]

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="logits")]

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(cuda_stream=0x77))
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"]
    )  # fmt: skip
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return asked


def test_onnx_runtime_on_cuda_has_no_tf32_and_a_stream_that_is_timed(
    gpu_build: dict[str, Any],
) -> None:
    gpu_build["took"] = "CUDAExecutionProvider"
    OnnxStep(lambda: Path("one.onnx"), IMAGES, "cuda:1")
    assert gpu_build["user_compute_stream"] == str(0x77)
    assert (gpu_build["device_id"], gpu_build["use_tf32"]) == ("1", "0")
    assert (gpu_build["path"], gpu_build["enable_fallback"]) == ("one.onnx", 0)


def test_onnx_runtime_that_falls_back_does_not_race(gpu_build: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="fell back to the CPU"):
        OnnxStep(lambda: Path("one.onnx"), IMAGES, "cuda")


def test_nothing_is_exported_for_a_library_that_is_missing() -> None:
    def never() -> Path:
        raise AssertionError("exported")

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this is the GPU build of ONNX Runtime")
    with pytest.raises(EngineError, match="was built without CUDA"):
        OnnxStep(never, IMAGES, "cuda")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> RecordingCuda:
    """A device in host memory, and the builds of backends that compute on it."""
    cuda = RecordingCuda()
    monkeypatch.setattr("ckd.runtime.cuda.bindings.open_cuda", lambda device: cuda)
    monkeypatch.setattr(onnxruntime_cuda, "ort", GpuBuild(cuda=cuda))
    return cuda


def test_our_cascade_is_timed_and_counted_on_the_device(
    subject: Subject, cuda: RecordingCuda
) -> None:
    images = subject.images(2)
    bundle = subject.bundle("fp32")
    step = open_ckd(lambda: bundle, "onnxruntime", "fp32", images, "cuda:0")
    on_cpu = open_ckd(lambda: bundle, "onnxruntime", "fp32", images, "cpu")
    step()
    on_cpu()
    for name, values in on_cpu.logits().items():
        np.testing.assert_allclose(step.logits()[name], values, atol=1e-5)
    before = step.allocations()
    step()
    assert step.allocations() == before  # a warm cascade takes no memory
    assert len(step.device_ms) == 2
    assert min(step.device_ms) > 0.0
    copies = step.copies()
    assert (copies.num_in, copies.bytes_in, copies.num_out) == (2, images.nbytes, 2)
    assert (on_cpu.allocations(), on_cpu.copies()) == (None, Copies(0, 0, 0, 0))
    step.close()
    on_cpu.close()
    assert cuda.leaks() == []


def test_networks_in_line_have_one_stream_and_the_same_answers(
    subject: Subject, cuda: RecordingCuda, tiny_bundle: Path
) -> None:
    side_by_side = Bundle(tiny_bundle).spec
    assert plan_streams(side_by_side).num_streams == 2
    assert plan_streams(one_after_another(side_by_side)).num_streams == 1
    steps = [
        open_ckd(
            lambda: subject.bundle("fp32"), "onnxruntime", "fp32", subject.images(1), device,
            in_line=in_line,
        )
        for device, in_line in (("cuda:0", False), ("cuda:0", True), ("cpu", True))
    ]  # fmt: skip
    for step in steps:
        step()
        for name, values in steps[0].logits().items():
            np.testing.assert_allclose(step.logits()[name], values, atol=1e-5)
    for step in steps:
        step.close()
    assert cuda.leaks() == []


def test_a_cascade_that_cannot_be_loaded_leaves_nothing_on_the_device(
    subject: Subject, cuda: RecordingCuda
) -> None:
    with pytest.raises(UsageError, match="does not compute in int8"):
        open_ckd(lambda: subject.bundle("fp32"), "onnxruntime", "int8", IMAGES, "cuda:0")
    assert cuda.leaks() == []


def test_tensorrt_is_asked_for_before_anything_is_exported(
    cuda: RecordingCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Path:
        raise AssertionError("exported")

    def refuse(device: object) -> None:
        assert isinstance(device, Meter)
        raise EnvironmentUnusable("TensorRT is not installed")

    monkeypatch.setattr("ckd.runtime.backends.tensorrt.backend.TensorRtBackend", refuse)
    with pytest.raises(EnvironmentUnusable, match="TensorRT is not installed"):
        open_ckd(never, "tensorrt", "fp16", IMAGES, "cuda:0")
    assert cuda.leaks() == []

"""A whole cascade on the TensorRT backend, from cache to certificate, on the recording device.

In TensorRT's place is ONNX Runtime on the CPU, whose plans are the ONNX files themselves; it does
its work in the order of a stream, on the addresses that it was given.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda

from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, GateFailed
from ckd.runtime import Cascade
from ckd.runtime import cascade as cascade_module
from ckd.runtime.backends.tensorrt import backend as tensorrt
from ckd.runtime.backends.tensorrt import kept as tensorrt_kept
from ckd.runtime.backends.tensorrt.backend import TensorRtBackend
from ckd.runtime.backends.tensorrt.sdk import TensorRt
from ckd.runtime.certificate import certificates

IMAGE = np.random.default_rng(5).integers(0, 256, (90, 70, 3), np.uint8)


class DataType(IntEnum):
    FLOAT = 0
    UINT8 = 1


class Mode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class Engine:
    """As much of TensorRT's engine and its context as is used, around a session.

    ``wrong`` is a tensor that it gets the sign of wrong.
    """

    def __init__(self, cuda: RecordingCuda, network: bytes, wrong: str | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(network, options)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        self.modes: dict[str, Mode] = {value.name: Mode.INPUT for value in inputs}
        self.modes |= {value.name: Mode.OUTPUT for value in outputs}
        self.values = {value.name: value for value in (*inputs, *outputs)}
        self.num_io_tensors = len(self.values)
        self.cuda, self.wrong = cuda, wrong
        self.addresses: dict[str, int] = {}

    def get_tensor_name(self, index: int) -> str:
        return list(self.modes)[index]

    def get_tensor_shape(self, name: str) -> list[int]:
        return list(self.values[name].shape)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.UINT8 if "uint8" in self.values[name].type else DataType.FLOAT

    def get_tensor_mode(self, name: str) -> Mode:
        return self.modes[name]

    def create_execution_context(self) -> "Engine":
        return self

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        self.cuda.put(stream, self._run)
        return True

    def _run(self) -> None:
        inputs = {name: self._view(name) for name, m in self.modes.items() if m is Mode.INPUT}
        names = [name for name, mode in self.modes.items() if mode is Mode.OUTPUT]
        for name, values in zip(names, self.session.run(names, inputs), strict=True):
            self._view(name)[...] = -values if name == self.wrong else values

    def _view(self, name: str) -> NDArray[Any]:
        dtype = np.uint8 if self.get_tensor_dtype(name) is DataType.UINT8 else np.float32
        shape = self.get_tensor_shape(name)
        num_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.cuda.bytes_at(self.addresses[name], num_bytes).view(dtype).reshape(shape)


class Logger:
    WARNING = 2


Load = Callable[..., tuple[Cascade, RecordingCuda]]


@pytest.fixture
def load(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Loads the tiny bundle as a user would; all memory is given back in the end."""
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tensorrt, "why_no_gpu", lambda: None)
    monkeypatch.setattr(tensorrt_kept, "build_engine", lambda name, precision, onnx, *_: onnx)
    devices: list[RecordingCuda] = []

    def load(
        wrong: str | None = None, fail_after: int | None = None
    ) -> tuple[Cascade, RecordingCuda]:
        cuda = RecordingCuda(seed=len(devices))
        cuda.fail_after = fail_after
        devices.append(cuda)

        def runtime(log: object) -> object:
            return SimpleNamespace(
                deserialize_cuda_engine=lambda plan: Engine(cuda, bytes(plan), wrong)
            )

        module = SimpleNamespace(ILogger=Logger, Runtime=runtime)
        monkeypatch.setattr(tensorrt, "import_tensorrt", lambda: TensorRt(module, "fake 1.0"))
        with monkeypatch.context() as patch:
            patch.setattr(cascade_module, "open_backend", lambda *_: TensorRtBackend(cuda))
            return Cascade.load(tiny_bundle, "tensorrt"), cuda

    yield load
    assert [cuda.leaks() for cuda in devices] == [[] for _ in devices]


def test_answers_are_those_of_the_cpu_from_one_graph(load: Load, tiny_bundle: Path) -> None:
    cascade, cuda = load()
    with cascade, Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as reference:
        cascade.warmup()
        allocated, launched = cuda.num_allocations, cuda.num_launches
        for _ in range(3):
            finding, expected = cascade.predict(IMAGE), reference.predict(IMAGE)
            assert finding.probabilities == pytest.approx(expected.probabilities, abs=1e-6)
            np.testing.assert_array_equal(finding.mask_HW, expected.mask_HW)
        assert cuda.num_allocations == allocated
        assert cuda.num_launches == launched + 3


def test_its_engines_have_a_certificate_that_holds_at_the_next_start(
    load: Load, tiny_bundle: Path
) -> None:
    for _ in range(2):
        cascade, _ = load()
        cascade.close()
    (certificate,) = certificates(Bundle(tiny_bundle))
    assert certificate.passed
    assert certificate.machine["gpu"] == "Recording"
    assert certificate.machine["tensorrt"] == "fake 1.0"


def test_engines_that_cannot_be_kept_are_said_to_be_once(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load()[0].close()
    assert caplog.messages == []
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "file"))
    load()[0].close()
    (said,) = caplog.messages
    assert said.startswith(f"engines cannot be kept in {tmp_path}/file/engines and are built at")


@pytest.mark.parametrize("wrong", ["logits", "mask_logits"])
def test_engines_that_answer_wrongly_are_refused_and_their_memory_given_back(
    load: Load, tiny_bundle: Path, wrong: str
) -> None:
    with pytest.raises(GateFailed, match="4 of 4 acceptance cases failed"):
        load(wrong)
    with Cascade.load(tiny_bundle, "onnxruntime", "cpu", num_threads=1) as cascade:
        cascade.predict(IMAGE)


@pytest.mark.parametrize("fail_after", [0, 5, 20, 25])
def test_memory_that_runs_out_while_loading_is_one_error_and_nothing_is_kept(
    load: Load, tiny_bundle: Path, fail_after: int
) -> None:
    with pytest.raises(EngineError):
        load(fail_after=fail_after)
    assert certificates(Bundle(tiny_bundle)) == []
    cascade, _ = load()  # the process goes on
    cascade.close()

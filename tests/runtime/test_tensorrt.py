"""The TensorRT backend on a TensorRT of its own, see `fake_tensorrt`: no GPU, real subprocesses."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from tests.runtime.fetching import fetch

from ckd.contract.errors import BundleError, EngineError, EnvironmentUnusable
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.tensorrt import backend as tensorrt
from ckd.runtime.backends.tensorrt import kept as tensorrt_kept
from ckd.runtime.backends.tensorrt.backend import TensorRtBackend, TensorRtEngine
from ckd.runtime.cuda.api import Cuda, DeviceProperties
from ckd.runtime.engine import DeviceBuffer
from ckd.runtime.engine_cache import EngineCache

FAKE = Path(__file__).parent / "fake_tensorrt"
NODE = NodeSpec("cls", ("image", "gate"), ("logits", "mean"), {"fp16": "cls.fp16.onnx"})
SPECS = {
    "image": TensorSpec("image", (1, 8, 8, 3), "uint8"),
    "gate": TensorSpec("gate", (1, 1, 4, 4), "float16"),
    "logits": TensorSpec("logits", (1, 3), "float16"),
    "mean": TensorSpec("mean", (1, 1, 2, 2), "float16"),
}
TENSORS: dict[str, Any] = {
    "inputs": [["image", [1, 8, 8, 3], "UINT8"], ["gate", [1, 1, 4, 4], "HALF"]],
    "outputs": [["logits", [1, 3], "HALF"], ["mean", [1, 1, 2, 2], "HALF"]],
}
GPU = DeviceProperties(
    name="A GPU",
    compute_capability=(9, 0),
    num_multiprocessors=132,
    total_bytes=80 << 30,
    driver_version=13000,
    runtime_version=13010,
)


def network(**changed: Any) -> Content:
    return Content.of(json.dumps({**TENSORS, **changed}).encode())


class OneGpu:
    """As much of a device as is asked while engines are loaded."""

    index = 2

    def __init__(self, gpu: DeviceProperties = GPU) -> None:
        self.gpu = gpu

    def properties(self) -> DeviceProperties:
        return self.gpu

    def free_bytes(self) -> int:
        return 4000


class Buffer:
    def __init__(self, spec: TensorSpec, address: int) -> None:
        self.spec, self.address = spec, address


def gpu(**changed: Any) -> Cuda:
    return cast(Cuda, OneGpu(replace(GPU, **changed)))


@pytest.fixture(autouse=True)
def fake(fake_tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake TensorRT, and a driver."""
    monkeypatch.setattr(tensorrt, "why_no_gpu", lambda: None)
    return fake_tensorrt


def load(onnx: Content | None = None, cuda: Cuda | None = None) -> TensorRtEngine:
    return TensorRtBackend(cuda or gpu()).load(NODE, onnx or network(), SPECS, "fp16")


def kept_keys() -> list[dict[str, str | int]]:
    return [dict(entry.key) for entry in EngineCache().entries()]


# Loading


def test_an_engine_has_the_tensors_of_the_spec_in_its_order() -> None:
    engine = load()
    assert engine.inputs == (SPECS["image"], SPECS["gate"])
    assert engine.outputs == (SPECS["logits"], SPECS["mean"])
    assert engine.sha256 == EngineCache().entries()[0].sha256


def test_what_was_built_once_is_loaded_ever_after() -> None:
    assert load().kept.seconds is not None
    again = load()
    assert again.kept.seconds is None
    assert len(kept_keys()) == 1


def test_the_key_has_all_that_an_engine_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = tmp_path / "nv_tegra_release"
    release.write_text("# R36 (release), REVISION: 4.3, BOARD: generic\nmore")
    monkeypatch.setattr(tensorrt_kept, "L4T_RELEASE", release)
    load()
    (key,) = kept_keys()
    assert key == {
        "network": "cls",
        "precision": "fp16",
        "onnx": network().sha256,
        "tensors": "image uint8[1, 8, 8, 3], gate float16[1, 1, 4, 4], logits float16[1, 3], "
        "mean float16[1, 1, 2, 2]",
        "options": "strongly typed, no TF32, memory of the application's",
        "tensorrt": "tensorrt 10.9.0",
        "gpu": "A GPU",
        "compute_capability": "9.0",
        "multiprocessors": 132,
        "driver": 13000,
        "cuda_runtime": 13010,
        "l4t": "R36 (release), REVISION: 4.3, BOARD: generic",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "Another GPU"},
        {"compute_capability": (8, 7)},
        {"num_multiprocessors": 114},
        {"driver_version": 13010},
        {"runtime_version": 12060},
    ],
)
def test_another_machine_needs_another_engine(changed: dict[str, Any]) -> None:
    load()
    assert load(cuda=gpu(**changed)).kept.seconds is not None
    assert len(kept_keys()) == 2


def test_a_changed_network_is_built_anew_beside_the_kept_engine() -> None:
    old = load()
    new = load(network(comment="retrained"))
    assert new.kept.seconds is not None
    assert new.sha256 != old.sha256
    assert len(kept_keys()) == 2


def test_an_engine_of_another_tensorrt_is_built_again_once(
    fake: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    path = load().kept.path
    # As a cache copied from elsewhere: its record fits, its content is another version's.
    record = json.loads(path.with_suffix(".json").read_text())
    path.unlink()
    foreign = json.dumps({**TENSORS, "version": "8.6"}).encode()
    fetch(EngineCache(), record["key"], lambda: foreign)
    fake.calls.clear()
    with caplog.at_level(logging.WARNING):
        engine = load()
    assert engine.kept.seconds is not None
    assert [record.getMessage() for record in caplog.records] == [
        "the kept engine of cls cannot be loaded (Version tag does not match. Note: Current "
        "Version: 239); building it again"
    ]
    assert fake.calls == [("runtime",), ("deserialize",), ("deserialize",)]
    assert load().kept.seconds is None


def test_an_engine_that_never_loads_is_not_built_for_ever(fake: ModuleType) -> None:
    with pytest.raises(EngineError, match=r"^cannot load cls: the target GPU is not supported; ten"
                       r"sorrt 10.9.0 may not support A GPU: .* `--device cpu`$"):  # fmt: skip
        load(network(do="never load"))
    assert fake.calls.count(("deserialize",)) == 1  # it had just been built


@pytest.mark.parametrize("do", ["have no memory", "have no memory for a context"])
def test_exhausted_memory_of_the_gpu_is_said_and_nothing_built_again(
    fake: ModuleType, do: str
) -> None:
    load(network(do="fail"))
    for _ in range(2):
        with pytest.raises(EngineError, match="cannot load cls: memory of the GPU ran") as caught:
            load(network(do=do))
        assert "`--device cpu`" in str(caught.value)
    assert len(kept_keys()) == 2
    assert fake.calls.count(("deserialize",)) == 3


def test_a_context_that_is_refused_says_why() -> None:
    with pytest.raises(EngineError, match=r"^cannot load cls: Error Code 3: this engine wants mem"
                       r"ory of its user's; tensorrt 10.9.0 may not support A GPU"):  # fmt: skip
        load(network(do="refuse a context"))


def test_tensors_that_the_spec_does_not_promise_are_refused() -> None:
    with pytest.raises(BundleError, match=r"^cls: the file takes .* cascade\.json says "):
        load(network(outputs=TENSORS["outputs"][:1]))
    with pytest.raises(BundleError, match=r"mean float16\[1, 1, 2, 3\]"):
        load(network(outputs=[TENSORS["outputs"][0], ["mean", [1, 1, 2, 3], "HALF"]]))


def test_an_output_of_an_unknown_type_is_refused() -> None:
    with pytest.raises(EngineError, match=r"^mean: INT64\[1\] is no static tensor"):
        load(network(outputs=[TENSORS["outputs"][0], ["mean", [1], "INT64"]]))


def test_without_a_driver_no_runtime_is_made(
    fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tensorrt, "why_no_gpu", lambda: "there is no driver; install one")
    fake.calls.clear()
    with pytest.raises(EnvironmentUnusable, match="needs a GPU: there is no driver; install one"):
        TensorRtBackend(gpu())
    assert fake.calls == []


def test_a_tensorrt_that_cannot_start_says_why(
    fake: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runtime(log: Any) -> None:
        log.log(fake.Severity.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("factory function returned nullptr")

    monkeypatch.setattr(fake, "Runtime", runtime)
    with pytest.raises(EnvironmentUnusable, match=r"10\.9\.0 cannot start: CUDA init.* 35$"):
        TensorRtBackend(gpu())


def test_the_device_is_named_by_its_number() -> None:
    assert TensorRtBackend(gpu()).device == "cuda:2"


# Running


def bound(onnx: Content | None = None) -> TensorRtEngine:
    engine = load(onnx)
    engine.bind(
        cast(
            dict[str, DeviceBuffer],
            {name: Buffer(spec, 256 * (i + 1)) for i, (name, spec) in enumerate(SPECS.items())},
        )
    )
    return engine


def test_addresses_are_given_once_and_runs_go_into_the_stream(fake: ModuleType) -> None:
    fake.calls.clear()
    engine = bound()
    for stream in (7, 9):
        engine.enqueue(stream)
    assert fake.calls[2:] == [
        ("address", "image", 256),
        ("address", "gate", 512),
        ("address", "logits", 768),
        ("address", "mean", 1024),
        ("enqueue", 7),
        ("enqueue", 9),
    ]


def test_an_address_that_is_refused_is_an_error() -> None:
    expected = r"^cls: image uint8\[1, 8, 8, 3\] cannot be at 0x100: it does not say why$"
    with pytest.raises(EngineError, match=expected):
        bound(network(do="refuse addresses"))


def test_a_run_that_fails_says_what_tensorrt_said() -> None:
    engine = bound(network(do="fail"))
    for _ in range(2):
        with pytest.raises(EngineError, match=r"^cls failed: .*Cuda Runtime \(illegal address\)$"):
            engine.enqueue(1)


def test_a_closed_engine_says_so() -> None:
    engine = bound()
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match=r"^cls is closed$"):
        engine.enqueue(1)


def test_a_build_that_fails_leaves_nothing() -> None:
    with pytest.raises(EngineError, match=r"^cannot build cls \(fp16\): its process was killed"):
        load(network(do="be killed"))
    assert kept_keys() == []
    assert load().kept.seconds is not None  # the lock is free


def test_a_build_without_room_for_its_files_is_an_error_that_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryDirectory", no_room)
    with pytest.raises(EngineError, match=r"cannot build cls \(fp16\): .*set TMPDIR"):
        TensorRtBackend(gpu()).load(NODE, network(), SPECS, "fp16")

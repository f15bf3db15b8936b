"""What is asked of a device before it is measured, and the clocks that time it."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ckd.benchmarks.gpu import machine as gpu_machine
from ckd.benchmarks.gpu.ceilings import WEIGHT_BYTES, Ceilings, floor_of, measure_ceilings
from ckd.benchmarks.gpu.clock import HostClock
from ckd.benchmarks.gpu.device import Device, EventClock, check_device, clock_for, describe
from ckd.contract.errors import EnvironmentUnusable, UsageError


@pytest.fixture
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """torch as it is with one GPU, whose events tell the order in which they were recorded."""
    recorded: list[Any] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: object) -> None:
            self.at_ms = 4.0 * len(recorded)
            recorded.append(stream)

        def synchronize(self) -> None:
            recorded.append("wait")

        def elapsed_time(self, other: "Event") -> float:
            return other.at_ms - self.at_ms

    properties = SimpleNamespace(
        name="NVIDIA H100 80GB HBM3", major=9, minor=0, multi_processor_count=132,
        total_memory=85_000_000_000,
    )  # fmt: skip
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    for name, value in {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "get_device_properties": lambda device: properties,
        "current_stream": lambda device: f"stream of {device}",
        "Event": Event,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return recorded


def test_a_device_is_described_and_named_for_a_folder(one_gpu: list[Any]) -> None:
    check_device("cuda")
    device = describe("cuda:0")
    assert device == Device(
        name="NVIDIA H100 80GB HBM3", compute_capability="9.0", num_multiprocessors=132,
        memory_gb=85.0, cuda="13.0",
    )  # fmt: skip
    assert device.slug == "nvidia-h100-80gb-hbm3"


def test_device_time_lies_between_two_events_of_one_stream(one_gpu: list[Any]) -> None:
    clock = clock_for("cuda:0")
    assert isinstance(clock, EventClock)
    clock.start()
    assert clock.stop() == pytest.approx(4.0)
    assert one_gpu == ["stream of cuda:0", "stream of cuda:0", "wait"]


def test_the_clock_of_a_cpu_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = clock_for("cpu")
    assert isinstance(clock, HostClock)
    clock.start()
    assert 0.0 <= clock.stop() < 1e3


@pytest.mark.parametrize(
    ("device", "error", "said"),
    [
        ("gpu", UsageError, "unknown device 'gpu'; expected cuda, cuda:N or cpu"),
        ("cuda:x", UsageError, "unknown device"),
        ("cuda:3", EnvironmentUnusable, "cuda:3: there are 1 CUDA devices"),
    ],
)
def test_another_device_is_refused(
    one_gpu: list[Any], device: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        check_device(device)


def test_without_a_gpu_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    check_device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(EnvironmentUnusable, match=r"no CUDA device .* driver for CUDA 13\.0"):
        check_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(EnvironmentUnusable, match="was built without CUDA"):
        check_device("cuda")


def test_ceilings_are_measured_for_every_precision() -> None:
    ceilings = measure_ceilings("cpu", side=64, copy_bytes=1 << 16, runs=2)
    assert ceilings.copy_gb_per_s > 0
    assert set(ceilings.tera_macs_per_s) == set(WEIGHT_BYTES)
    assert all(rate > 0 for rate in ceilings.tera_macs_per_s.values())


def test_a_precision_that_torch_cannot_multiply_in_has_no_floor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("not implemented")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    ceilings = measure_ceilings("cpu", side=32, copy_bytes=1 << 10, runs=1)
    assert set(ceilings.tera_macs_per_s) == {"fp32", "fp16"}
    assert floor_of(ceilings, "int8", num_weights=1, macs=1, batch=1) is None


def test_the_floor_is_the_longer_of_reading_and_multiplying() -> None:
    ceilings = Ceilings(copy_gb_per_s=2000.0, tera_macs_per_s={"fp16": 400.0})
    floor = floor_of(ceilings, "fp16", num_weights=100_000_000, macs=40_000_000_000, batch=1)
    assert floor is not None
    assert (floor.weights_ms, floor.products_ms) == pytest.approx((0.1, 0.1))
    eight = floor_of(ceilings, "fp16", num_weights=100_000_000, macs=40_000_000_000, batch=8)
    assert eight is not None
    assert (eight.weights_ms, eight.products_ms, eight.ms) == pytest.approx((0.1, 0.8, 0.8))


def test_the_inventory_names_interpreter_and_packages() -> None:
    lines = list(gpu_machine.inventory("cpu", {"tensorrt": "ModuleNotFoundError: no"}))
    assert lines[0] == f"Python {sys.version.split()[0]} {sys.executable}"
    assert any(line.startswith("torch: torch ") for line in lines)
    said = "tensorrt: ModuleNotFoundError: no; leaves out TensorRT, and ckd on it"
    assert said in lines


def test_everything_that_the_race_imports_is_asked_for() -> None:
    """Names of all packages that a module of `ckd` imports on the way to the race."""
    code = """
import builtins, sys
before, imported = builtins.__import__, set()
def note(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and str((globals or {}).get("__name__")).startswith("ckd."):
        imported.add(name.partition(".")[0])
    return before(name, globals, locals, fromlist, level)
builtins.__import__ = note
import ckd.benchmarks.cli, ckd.benchmarks.gpu.measure
print(*imported - sys.stdlib_module_names - {"ckd"})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert {"torch", "pydantic", "onnx", "onnxruntime"} <= imported
    assert imported <= set(gpu_machine.NEEDED)
    assert "cuda.bindings.driver" in gpu_machine.needed("cuda:1")


def test_a_package_whose_libraries_are_missing_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_lib.py").write_text("raise OSError('libGL.so.1: cannot open\\nhelp')")
    monkeypatch.syspath_prepend(tmp_path)
    assert gpu_machine.find_broken(["json", "no_lib"]) == {
        "no_lib": "OSError: libGL.so.1: cannot open"
    }


@pytest.mark.parametrize(
    ("arguments", "device"),
    [
        ([], "cuda"),
        (["--runs", "3"], "cuda"),
        (["--device", "cpu"], "cpu"),
        (["--runs", "3", "--device=cuda:1"], "cuda:1"),
    ],
)
def test_the_script_probes_the_device_that_will_be_raced_on(
    arguments: list[str], device: str
) -> None:
    assert gpu_machine.device_of(arguments) == device


def test_a_machine_without_packages_or_gpu_ends_with_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken: dict[str, str] = {}
    monkeypatch.setattr(gpu_machine, "find_broken", lambda modules: broken)
    assert gpu_machine.main(["--device", "cpu"]) == 0
    monkeypatch.setattr(torch.version, "cuda", None)
    assert gpu_machine.main([]) == 3
    assert "error: torch" in capsys.readouterr().err
    broken |= dict.fromkeys(["pydantic", "onnxruntime", "tensorrt"], "ModuleNotFoundError: gone")
    assert gpu_machine.main([]) == 3
    said = capsys.readouterr().err
    assert "pydantic: ModuleNotFoundError: gone\n" in said
    assert "error: pydantic, onnxruntime cannot be imported in this interpreter" in said
    assert "`pip install pydantic onnxruntime-gpu`" in said

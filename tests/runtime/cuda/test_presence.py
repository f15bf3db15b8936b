"""Machines without CUDA: one clear answer each, whatever is missing."""

import ctypes
import sys
from collections.abc import Mapping
from types import ModuleType

import pytest

from ckd.contract.errors import EnvironmentUnusable
from ckd.runtime.cuda.bindings import open_cuda
from ckd.runtime.cuda.presence import why_no_gpu

MODULE = "cuda.bindings.driver"


def has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")
def test_this_machine_without_a_driver_says_so() -> None:
    pytest.importorskip(MODULE)
    why = why_no_gpu()
    assert why is not None
    assert why.startswith("no NVIDIA driver here (libcuda does not load)")
    assert "--gpus all" in why
    with pytest.raises(EnvironmentUnusable) as raised:
        open_cuda()
    assert str(raised.value) == why


def test_without_cuda_bindings_it_is_said_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    why = why_no_gpu()
    assert why is not None
    assert why.startswith("cuda-bindings is not installed")
    assert "pip install '.[cuda]'" in why


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        # As cuda-bindings 12 does without libcuda.
        ({"cuInit": RuntimeError("Failed to dlopen libcuda.so.1")}, "--gpus all"),
        ({"cuInit": ValueError("12345 is not a valid CUresult")}, "CUDA does not start: 12345"),
        ({"cuInit": (999,)}, "CUDA does not start: 999"),
        ({"cuDriverGetVersion": (1, None)}, "cannot ask the CUDA driver: 1"),
        ({"cuDriverGetVersion": (0, 12090)}, "offers CUDA 12.9, .* are for 13.5; update .*==12"),
        ({"cuDeviceGetCount": (100, None)}, "CUDA finds no device: 100; the driver finds no"),
        ({"cuDeviceGetCount": (0, 0)}, "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_whatever_the_driver_says_is_one_clear_answer(
    monkeypatch: pytest.MonkeyPatch, driver: dict[str, object], expected: str
) -> None:
    answers = {"cuInit": (0,), "cuDriverGetVersion": (0, 13000), "cuDeviceGetCount": (0, 1)}
    monkeypatch.setitem(sys.modules, MODULE, module({**answers, **driver}))
    why = why_no_gpu()
    assert why is not None
    with pytest.raises(Exception, match=expected) as raised:
        open_cuda()
    assert str(raised.value) == why


def test_a_minor_version_behind_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"cuInit": (0,), "cuDriverGetVersion": (0, 13000), "cuDeviceGetCount": (0, 1)}
    monkeypatch.setitem(sys.modules, MODULE, module(answers))
    assert why_no_gpu() is None


def module(answers: Mapping[str, object]) -> ModuleType:
    """A `cuda.bindings.driver` whose functions answer so, or raise."""

    def function(answer: object) -> object:
        def call(*arguments: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    driver = ModuleType(MODULE)
    functions = {name: function(answer) for name, answer in answers.items()}
    driver.__dict__.update(functions, CUDA_VERSION=13050)
    return driver

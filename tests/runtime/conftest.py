"""What tests of the runtime share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ckd.runtime import Cascade
from ckd.runtime.backends.tensorrt.sdk import import_tensorrt

_FAKE_TENSORRT = Path(__file__).parent / "fake_tensorrt"


@pytest.fixture
def fake_tensorrt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`tensorrt` is a fake, here and in subprocesses, and its engines have a cache of their own."""
    paths = [str(_FAKE_TENSORRT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(_FAKE_TENSORRT)
    sys.modules.pop("tensorrt", None)
    made: ModuleType = import_tensorrt().trt
    del sys.modules["tensorrt"]  # so that undoing all leaves none
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    return made


@pytest.fixture
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with `.[cpu]`; the other backends have tests of their own."""
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        yield cascade

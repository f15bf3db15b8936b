"""What tests of the runtime share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from ckd.contract.hashes import write_hashes
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
def cpuinfo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stands for /proc/cpuinfo; not there until written."""
    path = tmp_path / "cpuinfo"
    read = Path.read_text

    def read_text(self: Path, *args: str, **kwargs: str) -> str:
        return read(path if str(self) == "/proc/cpuinfo" else self, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", read_text)
    return path


@pytest.fixture
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        yield cascade


@pytest.fixture
def int8_bundle(bundle_copy: Path) -> Path:
    """The tiny bundle with files for INT8 on the CPU, which are those of FP32."""
    cascade_json = bundle_copy / "cascade.json"
    text = cascade_json.read_text()
    for node in ("rootseg", "cls", "seg_encoder", "seg_decoder"):
        file = f'"fp32": "{node}.fp32.onnx"'
        assert file in text
        text = text.replace(file, f'{file}, "int8.cpu": "{node}.fp32.onnx"')
    text = text.replace('"fp32": "float32"', '"fp32": "float32", "int8.cpu": "float32"')
    text = text.replace('"fp32": "uint8"', '"fp32": "uint8", "int8.cpu": "uint8"')
    cascade_json.write_text(text)
    write_hashes(bundle_copy)
    return bundle_copy

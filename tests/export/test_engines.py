"""`ckd-export engine`: real engines by TensorRT-RTX where it is installed, and none is run here."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.fetching import fetch

from ckd import console
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError
from ckd.contract.hashes import write_hashes
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.export import engines as engines_module
from ckd.export.cli import cli
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.backends.tensorrt import kept as tensorrt_kept
from ckd.runtime.backends.tensorrt.kept import Kept, KeptEngines
from ckd.runtime.backends.tensorrt.process import build_engine
from ckd.runtime.backends.tensorrt.sdk import import_tensorrt
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.signed import embedded_bundle

rtx = pytest.mark.skipif(
    find_spec("tensorrt_rtx_bindings") is None,
    reason="no TensorRT-RTX: it is installed on Linux x86-64 with Python 3.11 and later",
)
TENSORRTS = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
NO_GPU = "there is no driver here"
NODES = ["rootseg", "cls", "seg_encoder", "seg_decoder"]


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        (line,) = (line for line in self.err.splitlines() if line.startswith("error: "))
        return line.removeprefix("error: ")


Engine = Callable[..., Done]


@pytest.fixture
def engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Engine:
    """Runs `ckd-export engine` on a machine without a GPU and with an empty cache."""
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(engines_module, "why_no_gpu", lambda: NO_GPU)

    def engine(*arguments: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", ["ckd-export", "engine", *map(str, arguments)])
        code = 0
        try:
            console.run(cli)
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *capsys.readouterr())

    return engine


# Ahead of time, for real


@rtx
def test_all_engines_are_built_without_a_gpu_and_not_called_proved(
    engine: Engine, tiny_bundle: Path
) -> None:
    done = engine(tiny_bundle)
    assert done.code == 0
    head, *rows = (line.split() for line in done.out.splitlines())
    assert head == ["network", "precision", "MB", "seconds", "path"]
    assert [row[:2] for row in rows] == [[name, "fp32"] for name in NODES]
    for *_, megabytes, seconds, path in rows:
        assert float(megabytes) == pytest.approx(Path(path).stat().st_size / 1e6, abs=0.06)
        assert float(seconds) > 0
    assert f"not run and so not certified here ({NO_GPU})" in done.err
    assert list(EngineCache().folder.glob("*.certificate.json")) == []


@rtx
def test_what_is_there_is_not_built_again(engine: Engine, tiny_bundle: Path) -> None:
    first = json.loads(engine(tiny_bundle, "--json").out)
    assert all(built["seconds"] > 0 for built in first["engines"])
    again = json.loads(engine(tiny_bundle, "--json").out)
    assert [built.pop("seconds") for built in again["engines"]] == [None] * 4
    assert [
        {name: value for name, value in built.items() if name != "seconds"}
        for built in first["engines"]
    ] == again["engines"]
    assert (again["certificates"], again["not_run"]) == ({}, NO_GPU)


@rtx
def test_a_network_that_changed_is_built_and_the_others_are_not(
    engine: Engine, bundle_copy: Path, tiny_bundle: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    engine(tiny_bundle)
    path = bundle_copy / "cls.fp32.onnx"
    model = onnx.load(path)
    model.doc_string = "retrained"
    onnx.save(model, path)
    write_hashes(bundle_copy)
    built = json.loads(engine(bundle_copy, "--json").out)["engines"]
    assert [made["network"] for made in built if made["seconds"] is not None] == ["cls"]
    assert len(EngineCache().entries()) == 5


@rtx
@pytest.mark.slow
def test_every_precision_that_the_bundle_has_is_built(engine: Engine) -> None:
    done = engine(embedded_bundle(), "--json")
    assert done.code == 0, done.err
    built = json.loads(done.out)["engines"]
    assert {made["precision"] for made in built} == {"fp32", "fp16"}
    by_name = {(made["network"], made["precision"]): made["num_bytes"] for made in built}
    # Where weights outweigh kernels, half of them is saved.
    assert by_name["rootseg", "fp16"] < 0.7 * by_name["rootseg", "fp32"]
    assert engine(embedded_bundle(), "--precision", "fp16").code == 0
    assert len(EngineCache().entries()) == 8


@rtx
def test_what_was_built_ahead_is_taken_over_where_there_is_a_gpu(
    engine: Engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(tiny_bundle)
    monkeypatch.setattr(tensorrt_kept, "build_engine", lambda *_: pytest.fail("was built"))
    bundle = Bundle(tiny_bundle)
    node = bundle.spec.nodes[0]
    specs = {name: bundle.spec.tensor(name, "fp32") for name in bundle.spec.shapes}
    kept = KeptEngines(import_tensorrt(), RecordingCuda())
    taken = kept.fetch(node, bundle.content(node.files["fp32"]), specs, "fp32")
    assert taken.seconds is None
    assert len(EngineCache().entries()) == 5
    # But not again if it turns out to be useless there.
    kept.drop(node, bundle.content(node.files["fp32"]), specs, "fp32")
    assert len(EngineCache().entries()) == 3


@rtx
def test_a_network_that_tensorrt_refuses_is_one_error(engine: Engine, bundle_copy: Path) -> None:
    (bundle_copy / "cls.fp32.onnx").write_bytes(b"\x08\x0a\x3a\x00")  # an empty graph
    write_hashes(bundle_copy)
    done = engine(bundle_copy)
    assert done.code == 1
    assert done.error.startswith("cannot build cls (fp32): TensorRT cannot ")
    assert "\n" not in done.error


@rtx
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"zero_point": np.array(3, np.int8)}, "x_there_QuantizeLinear: Non-zero zero point is"),
        (
            {"bias": np.arange(8, dtype=np.int32)},
            "bias_back_DequantizeLinear: .* must have type FP8",
        ),
    ],
)
def test_what_tensorrt_says_of_a_graph_is_one_line(
    quantized_graphs: ModuleType, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(EngineError, match=rf"^cannot build odd \(int8\): .*{said}") as caught:
        build_engine("odd", "int8", quantized_graphs.conv(**changes).SerializeToString())
    assert "\n" not in str(caught.value)


@rtx
def test_a_graph_that_crashes_tensorrt_is_one_error(quantized_graphs: ModuleType) -> None:
    with pytest.raises(EngineError, match=r"^cannot build odd \(int8\): TensorRT crashed \(SIG"):
        build_engine("odd", "int8", quantized_graphs.conv_with_computed_scale().SerializeToString())


# The cache


@rtx
def test_the_cache_can_be_looked_at_and_emptied(engine: Engine, tiny_bundle: Path) -> None:
    assert engine("--list").out.startswith("0 engines, 0.0 MB in ")
    engine(tiny_bundle)
    os.utime(next(e.path for e in EngineCache().entries() if e.key["network"] == "cls"), (1, 1))
    listed = json.loads(engine("--list", "--json").out)
    assert [one["network"] for one in listed["engines"]][-1] == "cls"
    assert set(listed["engines"][0]) == {
        "network", "precision", "builder", "device", "num_bytes", "used", "path", "sha256",
    }  # fmt: skip
    assert listed["engines"][0]["builder"].startswith("tensorrt_rtx")
    lines = engine("--list").out.splitlines()
    assert lines[0].split() == ["network", "precision", "MB", "last", "used", "built", "by", "for"]
    assert lines[-1].startswith("4 engines, ")
    # cls was used longest ago, so it goes first.
    sizes = {one["network"]: one["num_bytes"] for one in listed["engines"]}
    keep_mb = -(-(sum(sizes.values()) - sizes["cls"]) // 1_000_000)
    pruned = json.loads(engine("--prune", "--keep-mb", str(keep_mb), "--json").out)
    assert pruned["freed_bytes"] == sizes["cls"]
    assert engine("--prune").out.startswith(
        f"{(sum(sizes.values()) - sizes['cls']) / 1e6:.1f} MB freed, 0.0 MB left in "
    )
    assert EngineCache().entries() == []


def test_engines_of_openvino_are_listed_as_such(engine: Engine) -> None:
    key = {"network": "cls", "openvino": "2026.1", "device": "a CPU"}
    fetch(EngineCache(), {**key, "INFERENCE_PRECISION_HINT": "f32"}, lambda: b"engine")
    (one,) = json.loads(engine("--list", "--json").out)["engines"]
    assert (one["builder"], one["precision"], one["device"]) == ("openvino 2026.1", "f32", "a CPU")


def test_in_a_pipe_no_engine_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "10")
    key = {"network": "cls", "openvino": "2026.1", "device": "a CPU " * 40}
    fetch(EngineCache(), {**key, "INFERENCE_PRECISION_HINT": "f32"}, lambda: b"engine")
    command = [sys.executable, "-m", "ckd.export.cli", "engine", "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head, row, total = done.stdout.splitlines()
    assert head.split() == ["network", "precision", "MB", "last", "used", "built", "by", "for"]
    assert row.split()[:3] == ["cls", "f32", "0.0"]
    assert row.endswith(key["device"].rstrip())
    assert total.startswith("1 engines, 0.0 MB in ")


# Requests that cannot be met


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "which bundle?"),
        (("--list", "--prune"), 2, "--list, --prune and --certificate are three commands"),
        (("BUNDLE", "--precision", "fp64"), 2, "unknown precision 'fp64'; expected fp32, fp16, in"),
        (("BUNDLE", "--precision", "fp16"), 2, "no fp16 networks in this bundle; it has fp32"),
        (("BUNDLE", "--device", "cpu"), 2, "tensorrt runs on a GPU"),
        (("BUNDLE", "--device", "gpu"), 2, "unknown device 'gpu'"),
        (("BUNDLE", "--certificate"), 1, "no engines of this bundle have run on this machine"),
        (("BUNDLE", "--prune"), 2, "--prune are for the engines of all bundles; leave out BUNDLE"),
        (("BUNDLE", "--list"), 2, "--list and --prune are for the engines of all bundles"),
        (("BUNDLE", "--keep-mb", "5"), 2, "--keep-mb says what --prune leaves"),
    ],
)
def test_what_cannot_be_done_is_one_error(
    engine: Engine, tiny_bundle: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = engine(*(str(tiny_bundle) if word == "BUNDLE" else word for word in arguments))
    assert (done.code, said in done.error) == (code, True), done.err


@rtx
def test_engines_that_could_not_be_kept_are_not_built(
    engine: Engine, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tensorrt_kept, "build_engine", lambda *_: pytest.fail("built"))
    done = engine(tiny_bundle)
    assert (done.code, done.out) == (3, "")
    assert done.error.startswith(f"{tmp_path}/file/engines: cannot write results there")
    assert done.error.endswith("set CKD_CACHE to another folder")


@rtx
def test_engines_without_room_are_not_called_built(
    engine: Engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ckd.runtime.engine_cache.replace_file", full)
    monkeypatch.setattr(tensorrt_kept, "build_engine", lambda *_: b"engine")
    done = engine(tiny_bundle)
    assert (done.code, done.out) == (1, "")
    assert "4 of 4 engines were built but could not be kept; make room there" in done.error


@rtx
def test_a_stopped_build_takes_its_files_along(tiny_bundle: Path, tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "ckd.export.cli", "engine", tiny_bundle],
        env={**os.environ, "CKD_CACHE": str(tmp_path / "cache"), "TMPDIR": str(room)},
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    while process.poll() is None and not any(room.iterdir()):
        time.sleep(0.01)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (143, "", "interrupted\n")
    assert list(room.iterdir()) == []


def test_a_damaged_bundle_is_not_built(engine: Engine, bundle_copy: Path) -> None:
    (bundle_copy / "model_card.md").write_text("better than it was")
    done = engine(bundle_copy)
    assert done.code == 5
    assert "model_card.md was changed" in done.error


def test_without_any_tensorrt_the_error_says_where_it_comes_from(
    engine: Engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TENSORRTS:
        monkeypatch.setitem(sys.modules, name, None)
    done = engine(tiny_bundle)
    assert done.code == 3
    assert done.error.startswith("TensorRT is not installed; JetPack brings it")


def test_a_tensorrt_that_needs_its_gpu_says_so(
    engine: Engine, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Path(__file__).parents[1] / "runtime" / "fake_tensorrt"
    monkeypatch.syspath_prepend(fake)
    monkeypatch.delitem(sys.modules, "tensorrt", raising=False)
    done = engine(tiny_bundle)
    sys.modules.pop("tensorrt", None)
    assert done.code == 3
    assert done.error == (
        f"tensorrt 10.9.0 builds on the GPU that it builds for, and there is none: {NO_GPU}"
    )


# Where there is a GPU: a CPU in its place


class InItsPlace(OnnxRuntimeBackend):
    """Engines of the CPU that say they were built here; ``wrong`` are all answers of a network."""

    name = "tensorrt"
    machine: Mapping[str, str | int] = {"gpu": "A GPU", "tensorrt": "tensorrt 10.9.0"}

    def __init__(self, wrong: str | None = None) -> None:
        super().__init__(1)
        self.wrong = wrong

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Any:
        engine: Any = super().load(node, onnx, specs, precision)
        engine.sha256 = onnx.sha256
        path = EngineCache().folder / node.name
        path.touch()
        engine.kept = Kept(node.name, precision, None, 4, onnx.sha256, path, 12.0)
        bind, enqueue = engine.bind, engine.enqueue

        def bind_and_keep(buffers: Any) -> None:
            engine.buffers = [buffers[spec.name] for spec in engine.outputs]
            bind(buffers)

        def err(stream: int = 0) -> None:
            enqueue(stream)
            for buffer in engine.buffers:
                buffer.write(np.negative(buffer.read()))

        engine.bind = bind_and_keep
        if node.name == self.wrong:
            engine.enqueue = err
        return engine


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def gpu(wrong: str | None = None) -> None:
        monkeypatch.setattr(engines_module, "why_no_gpu", lambda: None)
        monkeypatch.setattr(engines_module, "import_tensorrt", lambda: None)
        monkeypatch.setattr(engines_module, "open_backend", lambda *_: InItsPlace(wrong))

    return gpu


def test_engines_prove_themselves_as_soon_as_they_are_built(
    engine: Engine, gpu: Callable[..., None], tiny_bundle: Path
) -> None:
    gpu()
    done = engine(tiny_bundle)
    assert done.code == 0, done.err
    kept = EngineCache().folder / "rootseg"
    assert f"rootseg      fp32       0.0     12.0  {kept}\n" in done.out
    assert "in fp32: passed 4 acceptance cases" in done.out
    assert "gpu A GPU, tensorrt tensorrt 10.9.0" in done.out
    shown = engine(tiny_bundle, "--certificate")
    assert shown.out in done.out
    for name in ("logits", "mask_logits", "coarse_logits"):
        assert f"error     {name} " in shown.out
    assert "edge      gate1 " in shown.out
    (certificate,) = json.loads(engine(tiny_bundle, "--certificate", "--json").out)
    assert certificate["passed"] is True
    report = json.loads(engine(tiny_bundle, "--json").out)
    assert report["certificates"] == {"fp32": certificate}
    assert report["not_run"] is None


def test_engines_that_answer_otherwise_end_the_command_and_it_can_be_seen_why(
    engine: Engine, gpu: Callable[..., None], tiny_bundle: Path
) -> None:
    gpu(wrong="seg_decoder")
    done = engine(tiny_bundle)
    assert done.code == 4
    assert "4 of 4 acceptance cases failed" in done.error
    assert "FAILED 4 of 4 acceptance cases" in engine(tiny_bundle, "--certificate").out

"""Building engines in processes of their own, by a TensorRT that fails as it is told."""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ckd import console
from ckd.contract.errors import EngineError, EnvironmentUnusable
from ckd.runtime.backends.tensorrt.build import BuildProgress
from ckd.runtime.backends.tensorrt.process import build_engine
from ckd.runtime.backends.tensorrt.sdk import TensorRt, import_tensorrt, strongly_typed_flag

pytestmark = pytest.mark.usefixtures("fake_tensorrt")


def build(**changed: Any) -> bytes:
    """A network of one input and output."""
    network = {"inputs": [["x", [1, 3], "HALF"]], "outputs": [["y", [1, 3], "HALF"]], **changed}
    return build_engine("cls", "fp16", json.dumps(network).encode(), free_bytes=4000)


def test_the_builder_is_told_what_was_decided() -> None:
    settings = json.loads(build())["settings"]
    assert settings == [["no TF32", 0], ["WORKSPACE", 3000]]  # of 4000 bytes that are free


@pytest.mark.parametrize(
    ("do", "said"),
    [
        ("be killed", "its process was killed, as happens when memory runs out; close what else"),
        ("exhaust the host", "memory ran out "),
        ("exhaust the device", "memory ran out .*OutOfMemory.*; close what else uses this GPU"),
        ("find no kernel", "memory ran out .*Could not find any implementation for node x"),
        ("crash", r"TensorRT crashed \(SIGSEGV\)"),
        ("raise", "factory function returned nullptr"),
        ("refuse", "TensorRT cannot build it: Error Code 4: the graph has a cycle at graph.cpp$"),
        ("unreadable", "TensorRT cannot read it: Conv_3: This is not supported.$"),
    ],
)
def test_a_build_that_fails_is_one_line(do: str, said: str) -> None:
    with pytest.raises(EngineError, match=rf"^cannot build cls \(fp16\): {said}") as caught:
        build(do=do)
    assert "\n" not in str(caught.value)


def test_a_network_of_open_shape_is_not_built() -> None:
    with pytest.raises(EngineError, match=r"image: UINT8\[-1, 8, 8, 3\] is no static tensor"):
        build(inputs=[["image", [-1, 8, 8, 3], "UINT8"]])


@pytest.mark.parametrize("do", ["succeed", "refuse", "be killed"])
def test_progress_is_shown_and_its_bar_taken_down(monkeypatch: pytest.MonkeyPatch, do: str) -> None:
    shown: list[tuple[str, int, int]] = []
    monkeypatch.setattr(
        console, "progress_bar", lambda what: lambda done, total: shown.append((what, done, total))
    )
    with contextlib.suppress(EngineError):
        build(do=do)
    assert shown == [("build cls (fp16)", 50, 100), ("build cls (fp16)", 100, 100)]


def test_an_interrupted_build_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endless.py").write_text(
        f"import os, time, json\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "print(json.dumps({'progress': 0.1}), flush=True)\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("ckd.runtime.backends.tensorrt.process.BUILDER", "endless")

    def bar(what: str) -> Callable[[int, int], None]:
        def tell(done: int, total: int) -> None:
            if done < total:
                raise KeyboardInterrupt

        return tell

    monkeypatch.setattr(console, "progress_bar", bar)
    with pytest.raises(KeyboardInterrupt):
        build_engine("cls", "fp16", b"{}")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize("sent", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_builder_that_was_ended_is_not_called_crashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    (tmp_path / "ended.py").write_text(
        "import os, signal\n"
        "os.write(1, b'{\"progress\": 0')\n"  # in the middle of a line
        f"signal.signal(signal.{sent}, signal.SIG_DFL)\n"
        f"os.kill(os.getpid(), signal.{sent})\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("ckd.runtime.backends.tensorrt.process.BUILDER", "ended")
    with pytest.raises(EngineError, match=rf"its process was ended from outside \({sent}\)"):
        build()


def test_a_builder_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckd.runtime.backends.tensorrt.process.BUILDER", "ckd.no_such_builder")
    with pytest.raises(EngineError, match=r"cannot build cls \(fp32\): .*no_such_builder"):
        build_engine("cls", "fp32", b"{}")


def test_another_gpu_is_the_only_one_that_its_builder_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = tmp_path / "tell_gpu.py"
    builder.write_text(
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[2]).write_text(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("ckd.runtime.backends.tensorrt.process.BUILDER", "tell_gpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert build_engine("cls", "fp16", b"{}", device_index=0) == b"all"
    assert build_engine("cls", "fp16", b"{}", device_index=1) == b"1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    assert build_engine("cls", "fp16", b"{}", device_index=1) == b"GPU-abc"


def test_progress_is_one_share_that_never_falls() -> None:
    told: list[float] = []
    progress = BuildProgress(told.append)
    progress.start("all", None, 2)
    progress.start("part", "all", 4)
    for _ in range(3):
        progress.step("part")
    progress.finish("part")  # before its last step, as happens
    progress.start("part", "all", 4)  # once more in the same step of the whole
    progress.step("part")
    progress.step("never started")
    progress.finish("part")
    progress.step("all")
    progress.step("all")
    assert told == [0.125, 0.25, 0.375, 0.5, 1.0]


# Which TensorRT


def test_without_tensorrt_the_message_says_where_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EnvironmentUnusable, match=r"^TensorRT is not installed; JetPack brings it"):
        import_tensorrt()


def test_a_tensorrt_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "tensorrt.py").write_text("raise ImportError('libnvinfer.so.10: not found')")
    monkeypatch.syspath_prepend(broken)
    monkeypatch.delitem(sys.modules, "tensorrt")
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    expected = r"^tensorrt cannot be imported \(libnvinfer.so.10: not found\); JetPack"
    with pytest.raises(EnvironmentUnusable, match=expected):
        import_tensorrt()


def test_only_networks_that_say_their_precision_will_do(
    fake_tensorrt: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert strongly_typed_flag(fake_tensorrt) == 2
    monkeypatch.delattr(fake_tensorrt, "NetworkDefinitionCreationFlag")
    # As 8.x: half precision is something that its builder is asked for.
    assert strongly_typed_flag(fake_tensorrt) is None
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    expected = r"10\.9\.0 has no strongly typed networks; 10\.3 or later is needed"
    with pytest.raises(EnvironmentUnusable, match=expected):
        import_tensorrt()
    monkeypatch.delattr(fake_tensorrt, "BuilderFlag")
    assert strongly_typed_flag(fake_tensorrt) == 0  # a later one, which has nothing else


def test_what_is_said_in_every_run_does_not_fill_the_memory(fake_tensorrt: ModuleType) -> None:
    log = TensorRt(fake_tensorrt, "fake").log()
    for _ in range(1000):
        log.log(fake_tensorrt.Severity.WARNING, "a slow\n  format")
        log.log(fake_tensorrt.Severity.INFO, "nothing of interest")
    assert len(log.lines) <= 200
    assert set(log.lines) == {"WARNING: a slow format"}

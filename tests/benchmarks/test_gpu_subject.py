"""What is raced: files are made once, and only if there is time."""

import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from ckd.benchmarks.gpu import deadline as gpu_deadline
from ckd.benchmarks.gpu import subject as gpu_subject
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.subject import Subject
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.wiring import IMAGE


def test_what_takes_too_long_is_not_begun(toy_recipe: None, tmp_path: Path) -> None:
    now_s = [0.0]
    late = Subject("ckdnet-tiny", tmp_path, Deadline(100.0, clock=lambda: now_s[0]))
    now_s[0] = 95.0
    with pytest.raises(UsageError, match=r"one graph of ckdnet-tiny would take some 10 s, 5 s"):
        late.one_graph("fp32")
    assert list((tmp_path / "ckdnet-tiny").iterdir()) == [tmp_path / "ckdnet-tiny" / "run"]
    now_s[0] = 0.0
    with pytest.raises(UsageError, match="no time"):  # a reason given once is not tried again
        late.one_graph("fp32")


def test_files_are_made_once(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject.one_graph("fp16"), subject.bundle("fp32")
    subject = Subject(subject.name, made[0].parents[1], Deadline(600.0))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(gpu_subject, "export_onnx", never)
    assert (subject.one_graph("fp16"), subject.bundle("fp32")) == made
    assert set(Bundle(made[1]).spec.file_kinds()) == {"fp32", "fp16"}


def test_a_bundle_of_one_graph_holds_the_whole_system(subject: Subject) -> None:
    folder = subject.one_graph_bundle("fp16")
    bundle = Bundle(folder)
    bundle.verify()
    (node,) = bundle.spec.nodes
    assert (node.inputs, set(node.outputs)) == ((IMAGE,), set(subject.system.outputs.names()))
    assert bundle.spec.file_kinds() == ("fp16",)
    made = folder.stat().st_mtime_ns
    assert subject.one_graph_bundle("fp16") == folder
    assert folder.stat().st_mtime_ns == made


def test_int8_files_are_made_of_generated_images(subject: Subject) -> None:
    spec = Bundle(subject.bundle("int8")).spec
    assert {"int8", "int8.cpu"} <= set(spec.file_kinds())


def test_what_runs_too_long_is_stopped() -> None:
    before = signal.getsignal(signal.SIGALRM)

    def long() -> None:
        with Deadline(0.2).stopping("torch.compile", 0.5):
            time.sleep(30.0)

    with pytest.raises(UsageError, match=r"torch\.compile was stopped after 0 s, 50% of what was"):
        long()
    with Deadline(60.0).stopping("a short piece", 0.5):
        pass
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_catches_the_stop_is_stopped_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_deadline, "STOP_INTERVAL_S", 0.1)
    tries = 0

    def stubborn() -> None:
        nonlocal tries
        while True:
            tries += 1
            with contextlib.suppress(UsageError) if tries == 1 else contextlib.nullcontext():
                time.sleep(30.0)

    with pytest.raises(UsageError, match="was stopped"), Deadline(0.2).stopping("tuning", 0.5):
        stubborn()
    assert tries == 2

"""`auto` takes the fastest backend, measures once, and never trips over what it remembers."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.runtime.cpuinfo import X86

from ckd.contract.errors import EngineError
from ckd.runtime import choice
from ckd.runtime.cascade import Cascade
from ckd.runtime.choice import best_of, fastest_backend, remembered

TIMES_MS: Mapping[str, float] = {"onnxruntime": 10.0, "openvino": 6.0}


@pytest.fixture(autouse=True)
def two_backends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "installed", lambda: tuple(TIMES_MS))


def measured(name: str) -> float:
    return TIMES_MS[name]


def never(name: str) -> float:
    raise AssertionError(f"{name} was measured again")


def test_the_fastest_is_taken_and_remembered() -> None:
    assert remembered("a bundle", "fp32", 2) is None
    assert fastest_backend("a bundle", "fp32", 2, measured) == "openvino"
    assert remembered("a bundle", "fp32", 2) == TIMES_MS
    assert fastest_backend("a bundle", "fp32", 2, never) == "openvino"


@pytest.mark.parametrize(("bundle", "precision", "threads"), [
    ("another", "fp32", 2), ("a bundle", "bf16", 2), ("a bundle", "fp32", 1),
])  # fmt: skip
def test_what_matters_is_measured_anew(bundle: str, precision: str, threads: int) -> None:
    fastest_backend("a bundle", "fp32", 2, measured)
    assert remembered(bundle, precision, threads) is None


def test_times_of_a_processor_with_other_instructions_are_measured_anew(cpuinfo: Path) -> None:
    cpuinfo.write_text(X86.format("avx2 avx512_vnni"))
    fastest_backend("a bundle", "int8", 2, measured)
    assert remembered("a bundle", "int8", 2) == TIMES_MS
    cpuinfo.write_text(X86.format("avx2"))  # of the same name, as a cloud may change it
    assert remembered("a bundle", "int8", 2) is None


def test_hardly_faster_is_no_reason_to_change() -> None:
    assert best_of({"openvino": 9.9, "onnxruntime": 10.0}) == "onnxruntime"
    assert best_of({"openvino": 9.0, "onnxruntime": 10.0}) == "openvino"
    assert best_of({"openvino": 9.0}) == "openvino"


def test_a_backend_that_cannot_is_left_out() -> None:
    def one_fails(name: str) -> float:
        if name == "openvino":
            raise EngineError("cannot load cls")
        return 10.0

    assert fastest_backend("a bundle", "fp32", 2, one_fails) == "onnxruntime"


def test_if_none_can_the_first_says_why() -> None:
    def fail(name: str) -> float:
        raise EngineError(f"{name} cannot load cls")

    with pytest.raises(EngineError, match="onnxruntime cannot load cls"):
        fastest_backend("a bundle", "fp32", 2, fail)
    assert remembered("a bundle", "fp32", 2) is None


def test_a_single_backend_needs_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda: ("onnxruntime",))
    assert fastest_backend("a bundle", "fp32", 2, never) == "onnxruntime"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_a_damaged_memory_is_replaced(tmp_path: Path, text: str) -> None:
    fastest_backend("a bundle", "fp32", 2, measured)
    (path,) = (tmp_path / "cache" / "backends").iterdir()
    path.write_text(text)
    assert remembered("a bundle", "fp32", 2) is None
    assert fastest_backend("a bundle", "fp32", 2, measured) == "openvino"
    assert json.loads(path.read_text())
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "file" / "cache"))
    assert fastest_backend("a bundle", "fp32", 2, measured) == "openvino"


def test_the_memory_does_not_grow_for_ever(tmp_path: Path) -> None:
    for number in range(choice.MAX_REMEMBERED + 5):
        fastest_backend(f"bundle {number}", "fp32", 1, measured)
    kept = list((tmp_path / "cache" / "backends").iterdir())
    assert len(kept) == choice.MAX_REMEMBERED
    assert remembered(f"bundle {choice.MAX_REMEMBERED + 4}", "fp32", 1) == TIMES_MS


def test_a_cascade_is_measured_on_every_backend(tiny_bundle: Path) -> None:
    pytest.importorskip("openvino")
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        taken_ms = remembered(cascade.bundle_id, "fp32", 1)
        assert taken_ms is None  # the key is the digest, not the name
        assert cascade.backend.name in TIMES_MS
    digest = Cascade.load(tiny_bundle, num_threads=1)
    digest.close()

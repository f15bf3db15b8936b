"""Loading a cascade: what is taken, what is refused, and clean ends of every kind."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.runtime.photographs import SIDE, assert_equal, edit_spec, photo

from ckd.contract.bundle import Bundle
from ckd.contract.errors import (
    BundleError,
    CkdError,
    EngineError,
    EnvironmentUnusable,
    GateFailed,
    UsageError,
)
from ckd.contract.hashes import write_hashes
from ckd.runtime import Cascade
from ckd.runtime import cascade as cascade_module
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.chain import Chain
from ckd.runtime.engine import Backend
from ckd.runtime.signed import embedded_bundle

pytestmark = pytest.mark.usefixtures("only_onnxruntime")


# Loading


def test_a_zip_gives_what_its_folder_gives(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle)
    findings = []
    for path in (tiny_bundle, str(tiny_bundle), archive, Path(archive)):
        with Cascade.load(path) as cascade:
            findings.append(cascade.predict(photo(0)))
    for finding in findings[1:]:
        assert_equal(finding, findings[0])
        assert finding.bundle == findings[0].bundle


@pytest.mark.skipif(not embedded_bundle().is_dir(), reason="no bundle is embedded yet")
def test_without_a_name_the_embedded_bundle_is_loaded() -> None:
    with Cascade.load() as cascade:
        finding = cascade.predict(photo(0))
    assert finding.bundle.startswith("ckdnet-mobile@")
    assert finding.top in finding.probabilities


@pytest.mark.parametrize("precision", ["bf16", "fp64", ""])
def test_a_precision_that_the_backend_lacks_is_refused(tiny_bundle: Path, precision: str) -> None:
    expected = f"onnxruntime does not compute in {precision}; expected fp32, fp16, int8$"
    with pytest.raises(UsageError, match=expected):
        Cascade.load(tiny_bundle, precision=precision)
    with pytest.raises(UsageError, match=expected):
        Cascade(Bundle(tiny_bundle), OnnxRuntimeBackend(1), precision)


def test_unknown_backends_and_devices_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend 'tpu'; expected auto, onnxruntime"):
        Cascade.load(tiny_bundle, backend="tpu")
    with pytest.raises(UsageError, match="unknown device 'gpu'; expected auto, cpu, cuda"):
        Cascade.load(tiny_bundle, device="gpu")


@pytest.mark.parametrize(
    ("error", "is_news"),
    [
        (EngineError("cannot load cls: the GPU fell off the bus"), True),
        (EnvironmentUnusable("the driver is too old"), False),
        (UsageError("tensorrt does not compute in bf16"), False),
    ],
)
def test_auto_takes_the_cpu_if_the_gpu_cannot(
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: CkdError,
    is_news: bool,
) -> None:
    def open_on(name: str, device: str, num_threads: int | None) -> Backend:
        if device != "cpu":
            raise error
        return OnnxRuntimeBackend(1)

    def chosen(name: str, device: str) -> str:
        return "cuda" if device == "auto" else device

    monkeypatch.setattr(cascade_module, "open_backend", open_on)
    monkeypatch.setattr(cascade_module, "chosen_device", chosen)
    monkeypatch.setattr(cascade_module, "fastest_backend", lambda *_: "onnxruntime")
    with Cascade.load(tiny_bundle) as cascade:
        assert cascade.backend.device == "cpu"
    expected = [f"{error}; taking the CPU"] if is_news else []
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == expected
    for backend, device in (("auto", "cuda"), ("tensorrt", "auto")):  # it was asked for
        with pytest.raises(type(error), match=str(error)):
            Cascade.load(tiny_bundle, backend, device)


def test_auto_does_not_hide_engines_that_answer_wrongly(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(chain: Chain, bundle: Bundle) -> None:
        raise GateFailed("4 of 4 acceptance cases failed")

    class Builds(OnnxRuntimeBackend):
        machine: ClassVar[dict[str, str]] = {}

    monkeypatch.setattr(cascade_module, "open_backend", lambda *_: Builds(1))
    monkeypatch.setattr(cascade_module, "chosen_device", lambda *_: "cuda")
    monkeypatch.setattr("ckd.runtime.proving.certify", refuse)
    with pytest.raises(GateFailed, match="4 of 4"):
        Cascade.load(tiny_bundle)


def test_without_any_backend_the_message_says_what_to_install(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("auto", "onnxruntime"):
        with pytest.raises(EnvironmentUnusable, match=r"`pip install '\.\[cpu\]'`") as caught:
            Cascade.load(tiny_bundle, backend=name)
        assert "\n" not in str(caught.value)


def test_a_bundle_that_is_altered_is_not_run(bundle_copy: Path) -> None:
    path = bundle_copy / "seg_decoder.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"seg_decoder\.fp32\.onnx was changed"):
        Cascade.load(bundle_copy)


WRONG_SPECS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "shape": (
        lambda t: t["tensors"]["gate2"].update(shape=[1, 6, 4, 5]),
        r"rootseg: the file takes image uint8\[1, 32, 32, 3\].* cascade.json says .*"
        r"gate2 float32\[1, 6, 4, 5\].*; export the bundle again",
    ),
    "type": (
        lambda t: t["tensors"]["mean1"].update(dtype={"fp32": "float16"}),
        r"cls: .*cascade.json says .*mean1 float16\[1, 1, 8, 8\]",
    ),
    "image size": (
        lambda t: (
            t["tensors"]["image"].update(shape=[1, 64, 64, 3]),
            t["preprocess"].update(size=64),
        ),
        r"rootseg: .*cascade.json says image uint8\[1, 64, 64, 3\]",
    ),
    "order of inputs": (lambda t: t["nodes"][3]["inputs"].reverse(), "seg_decoder: the file takes"),
    "input left out": (lambda t: t["nodes"][3]["inputs"].pop(), "seg_decoder: the file takes"),
    "file of another node": (
        lambda t: t["nodes"][2].update(files={"fp32": "rootseg.fp32.onnx"}),
        "seg_encoder: the file takes",
    ),
    "file that is no network": (
        lambda t: t["nodes"][1].update(files={"fp32": "model_card.md"}),
        r"model_card\.md is malformed, or no ONNX file",
    ),
}


@pytest.mark.parametrize("case", WRONG_SPECS)
def test_networks_other_than_promised_are_refused(bundle_copy: Path, case: str) -> None:
    change, message = WRONG_SPECS[case]
    with pytest.raises(BundleError, match=message) as caught:
        Cascade.load(edit_spec(bundle_copy, change))
    assert "\n" not in str(caught.value)


EMPTY_GRAPH = b"\x08\x0a\x3a\x00"


@pytest.mark.parametrize(
    ("content", "error", "told"),
    [
        (b"", BundleError, "no ONNX file"),
        (b"\0" * 100, BundleError, "no ONNX file"),
        (b"text", BundleError, "no ONNX file"),
        (b"\x08\x0a" * 50, BundleError, "no ONNX file"),
        (EMPTY_GRAPH, EngineError, "cannot load cls: "),
    ],
)
def test_a_network_that_cannot_be_read_is_refused_in_one_line(
    bundle_copy: Path, content: bytes, error: type[Exception], told: str
) -> None:
    (bundle_copy / "cls.fp32.onnx").write_bytes(content)
    write_hashes(bundle_copy)
    with pytest.raises(error, match=told) as caught:
        Cascade.load(bundle_copy)
    assert "\n" not in str(caught.value)


# The end


def test_a_closed_cascade_refuses_to_run(tiny_bundle: Path) -> None:
    cascade = Cascade.load(tiny_bundle)
    cascade.close()
    cascade.close()
    with pytest.raises(EngineError, match="this cascade has been closed; load it again"):
        cascade.predict(photo(0))
    with pytest.raises(EngineError, match="this cascade has been closed; load it again"):
        cascade.chain.run_all(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_leaving_the_block_closes_it_also_on_an_error(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle) as first:
        first.predict(photo(0))
    with pytest.raises(ZeroDivisionError), Cascade.load(tiny_bundle) as second:
        _ = 1 / 0
    for cascade in (first, second):
        with pytest.raises(EngineError, match="closed"):
            cascade.predict(photo(0))

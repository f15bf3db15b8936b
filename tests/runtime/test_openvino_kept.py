"""What OpenVINO compiled is imported only if it proved itself here, and answers as if fresh."""

import hashlib
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.cpuinfo import X86
from tests.runtime.photographs import photo

from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed, UsageError
from ckd.contract.hashes import write_hashes
from ckd.runtime import proving
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cache import Store
from ckd.runtime.cascade import Cascade
from ckd.runtime.cases import CASES, pack_cases
from ckd.runtime.certificate import Certificate, certificates
from ckd.runtime.engine_cache import EngineCache

ov = pytest.importorskip("openvino")


@dataclass
class Seen:
    """What OpenVINO was asked to do."""

    devices: set[str] = field(default_factory=set)
    compiled: int = 0
    imported: list[str] = field(default_factory=list)  # SHA-256


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, compile_model, import_model = Seen(), ov.Core.compile_model, ov.Core.import_model

    def compiles(self: Any, model: Any, device: str, config: Any) -> Any:
        seen.compiled += 1
        seen.devices.add(device)
        return compile_model(self, model, device, config)

    def imports(self: Any, content: Any, device: str, config: Any) -> Any:
        seen.imported.append(hashlib.sha256(content.data).hexdigest())
        seen.devices.add(device)
        return import_model(self, content, device, config)

    monkeypatch.setattr(ov.Core, "compile_model", compiles)
    monkeypatch.setattr(ov.Core, "import_model", imports)
    return seen


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))


def answers(bundle: Path, **options: Any) -> dict[str, NDArray[Any]]:
    """All tensors of one image, by a cascade that a user would load."""
    options = {"device": "cpu", "num_threads": 1, **options}
    with Cascade.load(bundle, "openvino", **options) as cascade:
        side = cascade.spec.image_size
        return cascade.chain.run_all(photo(0, side, side))


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    """True if they are equal to the bit."""
    return {n: a.tobytes() for n, a in one.items()} == {n: a.tobytes() for n, a in other.items()}


def kept_certificate(bundle: Path) -> Certificate:
    (certificate,) = certificates(Bundle(bundle))
    return certificate


def test_its_certificate_says_what_it_holds_for(tiny_bundle: Path) -> None:
    answers(tiny_bundle, num_threads=2)
    certificate, bundle = kept_certificate(tiny_bundle), Bundle(tiny_bundle)
    assert certificate.passed
    assert certificate.bundle_sha256 == bundle.digest()
    assert certificate.precision == "fp32"
    assert certificate.engines == {
        str(entry.key["network"]): entry.sha256 for entry in EngineCache().entries()
    }
    assert set(certificate.engines) == {node.name for node in bundle.spec.nodes}
    machine = certificate.machine
    assert machine["openvino"] == ov.get_version()
    assert machine["device"] == ov.Core().get_property("CPU", "FULL_DEVICE_NAME")
    assert (machine["INFERENCE_NUM_THREADS"], machine["PERFORMANCE_HINT"]) == (2, "LATENCY")
    assert {*machine} >= {"instructions", "capabilities", "NUM_STREAMS"}


def test_what_proved_itself_is_imported_and_no_case_is_run_again(
    tiny_bundle: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(tiny_bundle)
    assert (seen.compiled, len(seen.imported)) == (4, 4)
    monkeypatch.setattr(proving, "run_twice", lambda *_: pytest.fail("run again"))
    answers(tiny_bundle)
    assert (seen.compiled, len(seen.imported)) == (4, 8)
    assert seen.imported[4:] == seen.imported[:4]


def test_without_a_certificate_it_is_never_imported(tiny_bundle: Path, seen: Seen) -> None:
    before = answers(tiny_bundle)
    (path,) = EngineCache().folder.glob("*.certificate.json")
    path.unlink()
    assert same(answers(tiny_bundle), before)
    assert seen.compiled == 8
    assert kept_certificate(tiny_bundle).passed


def test_a_planted_network_with_a_whole_record_is_never_imported(
    tiny_bundle: Path, seen: Seen
) -> None:
    before = answers(tiny_bundle)
    for entry in EngineCache().entries():
        planted = entry.path.read_bytes() + entry.sha256.encode()
        sha256 = hashlib.sha256(planted).hexdigest()
        entry.path.write_bytes(planted)
        Store(entry.path.parent).write(entry.key, {"size": len(planted), "sha256": sha256})
        assert (found := EngineCache().find(entry.key)) is not None
        assert found.sha256 == sha256  # nothing but the certificate speaks against it
    planted_ones = {entry.sha256 for entry in EngineCache().entries()}
    seen.imported.clear()
    assert same(answers(tiny_bundle), before)
    assert len(seen.imported) == 4
    assert not planted_ones.intersection(seen.imported)


@pytest.mark.parametrize("change", [{"num_threads": 2}, {"precision": "bf16"}])
def test_other_threads_or_hints_need_a_proof_of_their_own(
    tiny_bundle: Path, seen: Seen, change: dict[str, Any]
) -> None:
    answers(tiny_bundle)
    try:
        answers(tiny_bundle, **change)
    except GateFailed:  # with bfloat16 instructions these random weights may not pass
        assert "precision" in change
    assert seen.compiled == 8
    assert len(certificates(Bundle(tiny_bundle))) == 2


def test_another_bundle_of_the_same_networks_runs_its_own_cases(
    tiny_bundle: Path, bundle_copy: Path, seen: Seen
) -> None:
    answers(tiny_bundle)
    (bundle_copy / "model_card.md").write_text("with other words")
    write_hashes(bundle_copy)
    answers(bundle_copy)
    assert seen.compiled == 4  # they proved themselves, in the other bundle
    assert kept_certificate(bundle_copy).num_cases == 4


def test_a_certificate_of_other_instructions_does_not_hold(
    tiny_bundle: Path, seen: Seen, cpuinfo: Path
) -> None:
    cpuinfo.write_text(X86.format("fpu sse4_2 avx2 avx512_vnni smep"))
    answers(tiny_bundle)
    assert kept_certificate(tiny_bundle).machine["instructions"] == "avx2 avx512_vnni sse4_2"
    cpuinfo.write_text(X86.format("fpu sse4_2 avx2 smep"))  # the same name, without VNNI
    answers(tiny_bundle)
    assert seen.compiled == 8
    told = {one.machine["instructions"] for one in certificates(Bundle(tiny_bundle))}
    assert told == {"avx2 avx512_vnni sse4_2", "avx2 sse4_2"}
    cpuinfo.write_text(X86.format("fpu sse4_2 avx2 avx512_vnni smep ibpb"))  # a newer kernel
    answers(tiny_bundle)
    assert seen.compiled == 8


def test_an_engine_kept_with_other_instructions_is_not_taken_for_this_one_by_its_hash(
    tiny_bundle: Path, cpuinfo: Path, seen: Seen
) -> None:
    """Even in the place of the right one the certificate of other instructions is none."""
    cpuinfo.write_text(X86.format("avx2 avx512_vnni"))
    answers(tiny_bundle)
    kept = {entry.key["network"]: entry for entry in EngineCache().entries()}
    cpuinfo.write_text(X86.format("avx2"))
    for entry in kept.values():
        key, content = {**entry.key, "instructions": "avx2"}, entry.path.read_bytes()
        with EngineCache().slot(key) as slot:
            slot.keep(content)
    seen.imported.clear()
    answers(tiny_bundle)
    assert seen.compiled == 8
    assert not {entry.sha256 for entry in kept.values()}.intersection(seen.imported)


def test_one_that_answers_wrongly_is_refused_and_compiled_anew_at_the_next_start(
    bundle_copy: Path, seen: Seen
) -> None:
    with np.load(bundle_copy / CASES) as archive:
        recorded = {name: archive[name] for name in archive.files}
    recorded["logits"] = -recorded["logits"]
    (bundle_copy / CASES).write_bytes(pack_cases(recorded.pop("images"), recorded))
    write_hashes(bundle_copy)
    for number in (1, 2):
        with pytest.raises(
            GateFailed, match=r"`ckd-export engine --prune`.*`--backend onnxruntime`$"
        ):
            answers(bundle_copy)
        assert seen.compiled == 4 * number


def test_auto_leaves_out_a_backend_that_answers_wrongly_and_says_so(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(chain: Any, bundle: Bundle) -> None:
        if chain.backend.name == "openvino":
            raise GateFailed("4 of 4 acceptance cases failed")

    monkeypatch.setattr("ckd.runtime.choice.certify", refuse)
    with caplog.at_level(logging.WARNING), Cascade.load(tiny_bundle, device="cpu") as cascade:
        assert cascade.backend.name == "onnxruntime"
    assert "openvino is not taken: 4 of 4 acceptance cases failed" in caplog.text


def test_the_device_is_the_cpu_by_name(tiny_bundle: Path, seen: Seen) -> None:
    for _ in range(2):
        answers(tiny_bundle, device="auto")
    assert seen.devices == {"CPU"}
    for device in ("AUTO", "AUTO:CPU", "CPU", "HETERO"):
        with pytest.raises(UsageError, match=f"unknown device '{device}'; expected auto, cpu"):
            open_backend("openvino", device, 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_kept_and_fresh_answers_are_equal_to_the_bit(
    lenient_bundle: Path, seen: Seen, threads: int, precision: str
) -> None:
    options = {"num_threads": threads, "precision": precision}
    fresh = answers(lenient_bundle, **options)
    assert same(answers(lenient_bundle, **options), fresh)
    assert (seen.compiled, len(seen.imported)) == (4, 8)

    settings = {name: value for name, value in kept_certificate(lenient_bundle).machine.items()
                if name.isupper()}  # fmt: skip
    settings["INFERENCE_PRECISION_HINT"] = {"fp32": "f32", "bf16": "bf16"}[precision]
    core, spec = ov.Core(), Bundle(lenient_bundle).spec
    for node in spec.nodes:  # as OpenVINO itself compiles it, neither exported nor imported
        model = core.read_model(lenient_bundle / node.files["fp32"])
        direct = core.compile_model(model, "CPU", settings)({n: fresh[n] for n in node.inputs})
        assert same({n: direct[n] for n in node.outputs}, {n: fresh[n] for n in node.outputs})


@pytest.fixture
def lenient_bundle(bundle_copy: Path) -> Path:
    """With bfloat16 instructions the tiny bundle's random weights need not pass its cases."""
    (bundle_copy / "acceptance/tolerances.json").write_text(
        '{"fp32": {"mask_jaccard": 0.99, "probability": 0.005},'
        ' "bf16": {"mask_jaccard": 0, "probability": 1, "class_map": 99, "features": 99}}'
    )
    write_hashes(bundle_copy)
    return bundle_copy


def no_room(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("full", ["tempfile.TemporaryDirectory", "os.fsync", "os.mkdir"])
def test_where_nothing_can_be_written_it_answers_all_the_same(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    before = answers(tiny_bundle)
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr(full, no_room)
    for _ in range(2):
        assert same(answers(tiny_bundle), before)


def test_a_type_that_the_processor_lacks_is_said_once(
    lenient_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    has_bf16 = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    with caplog.at_level(logging.WARNING):
        answers(lenient_bundle, precision="bf16")
    told = caplog.text.count("OpenVINO computes in f32 and not in bf16")
    assert told == (0 if has_bf16 else 1)

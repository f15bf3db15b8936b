"""Engines that were built here prove themselves before they are used, whatever built them."""

import itertools
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.fetching import fetch
from tests.runtime.photographs import photo

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError, EngineError, GateFailed
from ckd.contract.hashes import write_hashes
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime import cascade as cascade_module
from ckd.runtime import proving
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeEngine
from ckd.runtime.cache import Store
from ckd.runtime.cascade import Cascade
from ckd.runtime.cases import CASES
from ckd.runtime.certificate import STEADY, certificates, prune_certificates
from ckd.runtime.engine import DeviceBuffer
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.proving import certify

Change = Callable[[NDArray[Any]], NDArray[Any]]

MACHINE: Mapping[str, str | int] = {"gpu": "A GPU", "driver": 13000, "tensorrt": "tensorrt 10.9.0"}


class BuiltHere(OnnxRuntimeBackend):
    """A backend that says of itself what one that builds engines says.

    Args:
        changes: what its engines do to a tensor that they answer.
        build: goes into the SHA-256 of its engines.
    """

    name = "built"
    device = "cuda:0"  # says what to do where engines take long to build

    def __init__(
        self, changes: Mapping[str, Change] | None = None, build: str = "", **machine: str | int
    ) -> None:
        super().__init__(1)
        self.machine = {**MACHINE, **machine}
        self.changes, self.build = changes or {}, build
        self.loaded: list[BuiltEngine] = []

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Any:  # which takes the place of ONNX Runtime's
        plain = super().load(node, onnx, specs, precision)
        engine = BuiltEngine(plain, onnx.sha256 + self.build, self.changes)
        self.loaded.append(engine)
        return engine


class BuiltEngine:
    def __init__(
        self, plain: OnnxRuntimeEngine, sha256: str, changes: Mapping[str, Change]
    ) -> None:
        self.plain, self.sha256, self.changes = plain, sha256, changes
        self.inputs, self.outputs = plain.inputs, plain.outputs

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        self.plain.bind(buffers)
        self.changed = [
            (buffers[spec.name], self.changes[spec.name])
            for spec in self.outputs
            if spec.name in self.changes
        ]

    def enqueue(self, stream: int = 0) -> None:
        self.plain.enqueue(stream)
        for buffer, change in self.changed:
            buffer.write(change(buffer.read()))

    def close(self) -> None:
        self.plain.close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def load(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[BuiltHere], list[dict[str, Any]]]:
    """Loads the tiny bundle as a user would; gives the certificates that there are then."""

    def load(backend: BuiltHere, path: Path = tiny_bundle) -> list[dict[str, Any]]:
        monkeypatch.setattr(cascade_module, "open_backend", lambda *_: backend)
        Cascade.load(path, "tensorrt").close()
        return written()

    return load


def written() -> list[dict[str, Any]]:
    """The certificates in the cache folder, as JSON without constants that only Python knows."""

    def refuse(number: str) -> None:
        raise ValueError(number)

    records = (
        json.loads(path.read_text(), parse_constant=refuse)
        for path in sorted(EngineCache().folder.glob("*.certificate.json"))
    )
    return [{**record["key"], **record["value"]} for record in records]


KEY = ("bundle", "bundle_sha256", "precision", "machine", "engines")


def sealed(fields: Mapping[str, Any]) -> str:
    """The text of a whole record, with a matching SHA-256, that holds such a certificate."""
    key = {name: fields[name] for name in KEY if name in fields}
    value = {name: fields[name] for name in fields if name not in KEY}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.write(key, value)
        return store.path(key).read_text()


def never(*_: object) -> None:
    raise AssertionError("the cases were run again")


Load = Callable[..., list[dict[str, Any]]]


def test_engines_that_answer_as_recorded_get_a_certificate(load: Load, tiny_bundle: Path) -> None:
    (certificate,) = load(backend := BuiltHere())
    assert certificate["passed"] is True
    assert certificate["machine"] == MACHINE
    assert certificate["engines"] == {engine.plain.name: engine.sha256 for engine in backend.loaded}
    assert certificate["bundle_sha256"] == Bundle(tiny_bundle).digest()
    assert certificate["precision"] == "fp32"
    assert (certificate["num_cases"], certificate["num_failed"], certificate["decision_flips"]) == (
        4,
        0,
        0,
    )
    assert set(certificate["tensor_errors"]) == {"logits", "mask_logits", "coarse_logits"}
    assert all(0 <= error < 0.01 for error in certificate["tensor_errors"].values())
    assert 0.99 < certificate["mask_jaccard"] <= certificate["mask_dice"] <= 1
    assert 0 <= certificate["probability_shift"] < 0.005


def test_with_a_certificate_no_case_is_run(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load(BuiltHere())
    monkeypatch.setattr(proving, "run_twice", never)
    assert len(load(BuiltHere())) == 1


@pytest.mark.parametrize("other", [{"build": "again"}, {"driver": 13010}, {"gpu": "Another GPU"}])
def test_other_engines_or_another_machine_must_prove_themselves(
    load: Load, monkeypatch: pytest.MonkeyPatch, other: dict[str, Any]
) -> None:
    load(BuiltHere())
    with monkeypatch.context() as patch:
        patch.setattr(proving, "run_twice", never)
        with pytest.raises(AssertionError, match="run again"):
            load(BuiltHere(**other))
    assert len(load(BuiltHere(**other))) == 2


def test_another_bundle_of_the_same_engines_must_prove_itself(
    load: Load, bundle_copy: Path
) -> None:
    load(BuiltHere())
    (bundle_copy / "model_card.md").write_text("with other words")
    write_hashes(bundle_copy)
    assert len(load(BuiltHere(), bundle_copy)) == 2


@pytest.mark.parametrize(
    ("answer", "untouched"),
    [
        ("logits", {"mask_logits", "coarse_logits"}),
        ("mask_logits", {"logits", "coarse_logits"}),
        ("coarse_logits", set()),  # the others follow from it
    ],
)
def test_one_wrong_answer_is_refused_and_recorded(
    load: Load, answer: str, untouched: set[str]
) -> None:
    backend = BuiltHere({answer: np.negative})
    with pytest.raises(GateFailed) as caught:
        load(backend)
    said = str(caught.value)
    assert re.match(r"tiny@\w+ on built \(fp32\): 4 of 4 acceptance cases failed \(", said)
    assert f"{answer} " in said
    assert said.endswith("`--device cpu`")
    assert "\n" not in said
    (certificate,) = written()
    assert (certificate["passed"], certificate["num_failed"]) == (False, 4)
    assert certificate["tensor_errors"][answer] > 1
    assert all(certificate["tensor_errors"][name] < 0.01 for name in untouched)
    for engine in backend.loaded:
        with pytest.raises(EngineError, match="is closed"):
            engine.enqueue()


def test_a_tensor_between_the_networks_that_is_wrong_shows_in_the_answers(load: Load) -> None:
    with pytest.raises(GateFailed, match="acceptance cases failed"):
        load(BuiltHere({"gate1": np.zeros_like}))


def after(runs: int, change: Change) -> Change:
    """A change that begins after so many runs."""
    count = itertools.count()
    return lambda values: change(values) if next(count) >= runs else values


@pytest.mark.parametrize("runs", [1, 4, 6, 7])
def test_an_engine_whose_answers_change_later_is_refused(load: Load, runs: int) -> None:
    with pytest.raises(GateFailed, match="the same image has another answer later"):
        load(BuiltHere({"logits": after(runs, np.negative)}))
    (certificate,) = written()
    assert certificate["passed"] is False


def test_answers_that_drift_within_every_tolerance_are_found(load: Load) -> None:
    count = itertools.count()

    def drift(values: NDArray[Any]) -> NDArray[Any]:
        """All logits rise alike, so that no probability changes yet."""
        return values + np.float32(0.01 * next(count) * values.std())

    with pytest.raises(GateFailed, match=r"0 of 4 .*the same image has another answer later"):
        load(BuiltHere({"logits": drift}))
    (certificate,) = written()
    assert certificate["num_failed"] == 0
    assert certificate["repeat_errors"]["logits"] > STEADY
    assert certificate["repeat_errors"]["mask_logits"] == 0


def test_what_is_left_of_the_image_before_is_found(load: Load) -> None:
    before: list[NDArray[Any]] = []

    def remember(values: NDArray[Any]) -> NDArray[Any]:
        before.append(values.copy())
        return values + np.float32(0.02) * before[-2 if len(before) > 1 else -1]

    with pytest.raises(GateFailed, match="the same image has another answer later"):
        load(BuiltHere({"mask_logits": remember}))


def test_refused_engines_leave_the_cpu_usable(
    load: Load, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(cascade_module, "open_backend", lambda *_: BuiltHere({"logits": np.negative}))
        with pytest.raises(GateFailed):
            Cascade.load(tiny_bundle, "tensorrt")
    with Cascade.load(tiny_bundle, "onnxruntime", "cpu", num_threads=1) as cascade:
        assert cascade.predict(photo(0)).top is not None


def test_an_answer_that_is_no_number_is_refused(load: Load) -> None:
    with pytest.raises(GateFailed, match="mask_logits no numbers"):
        load(BuiltHere({"mask_logits": lambda values: values * np.float32("nan")}))
    (certificate,) = written()
    assert certificate["tensor_errors"]["mask_logits"] is None
    with pytest.raises(GateFailed, match="logits no numbers"):
        load(BuiltHere({"logits": lambda values: values * np.float32("nan")}, build="2"))


def test_engines_that_failed_once_are_not_tried_until_they_pass(load: Load) -> None:
    with pytest.raises(GateFailed):
        load(BuiltHere({"logits": np.negative}))
    with pytest.raises(GateFailed):
        load(BuiltHere())  # the same engines, which answer well now and then
    prune_certificates()  # as `ckd-export engine --prune` does, with the engines
    (certificate,) = load(BuiltHere())
    assert certificate["passed"] is True


def test_tensors_between_the_networks_are_compared_with_the_cpu(load: Load) -> None:
    (certificate,) = load(BuiltHere({"gate1": lambda values: values + np.float32(1e-4)}))
    assert {"gate1", "mean4", "h2"} <= set(certificate["edge_errors"])
    assert not {"logits", "mask_logits", "coarse_logits"} & set(certificate["edge_errors"])
    assert certificate["edge_errors"]["gate1"] > 1e-5  # where it began
    assert certificate["edge_errors"]["h2"] < 1e-5  # which does not depend on it


def test_decisions_that_change_are_counted(load: Load, tiny_bundle: Path) -> None:
    with pytest.raises(GateFailed, match="decisions changed"):
        load(BuiltHere({"logits": lambda values: values[:, ::-1] * 5}))
    (certificate,) = written()
    assert certificate["decision_flips"] > 0
    assert 0 < certificate["probability_shift"] <= 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: "",
        lambda tree: "{",
        lambda tree: "[]",
        json.dumps,
        lambda tree: sealed(tree).replace('"num_failed": 0', '"num_failed": 1'),
        lambda tree: sealed({**tree, "unknown": 1}),
        lambda tree: sealed({name: tree[name] for name in tree if name != "engines"}),
        lambda tree: sealed({**tree, "engines": {}}),
        lambda tree: sealed({**tree, "num_failed": 1}),
        lambda tree: sealed({**tree, "num_cases": 0}),
        lambda tree: sealed({**tree, "repeat_errors": {}}),
        lambda tree: "[" * 100_000,
    ],
)
def test_a_damaged_certificate_is_none(
    load: Load, monkeypatch: pytest.MonkeyPatch, damage: Callable[[dict[str, Any]], str]
) -> None:
    (certificate,) = load(BuiltHere())
    (path,) = EngineCache().folder.iterdir()
    path.write_text(damage(certificate))
    (again,) = load(BuiltHere())
    assert {**again, "made": ""} == {**certificate, "made": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("machine", None),
        ("engines", ["cls"]),
        ("engines", {"cls": ["00"]}),
        ("tensor_errors", {"logits": "small"}),
        ("edge_errors", []),
        ("repeat_errors", {"logits": "none"}),
        ("mask_jaccard", "all of it"),
        ("probability_shift", []),
        ("decision_flips", None),
        ("made", 2026),
    ],
)
def test_a_foreign_certificate_is_none(
    load: Load, tiny_bundle: Path, name: str, value: object
) -> None:
    (certificate,) = load(BuiltHere())
    foreign = EngineCache().folder / "foreign.certificate.json"
    foreign.write_text(sealed(certificate))
    assert len(certificates(Bundle(tiny_bundle))) == 2
    foreign.write_text(sealed({**certificate, name: value}))
    assert len(certificates(Bundle(tiny_bundle))) == 1
    prune_certificates()
    assert not foreign.exists()


def test_a_failed_certificate_cannot_be_called_a_passed_one(load: Load) -> None:
    wrong = BuiltHere({"logits": np.negative})
    with pytest.raises(GateFailed):
        load(wrong)
    (path,) = EngineCache().folder.iterdir()
    path.write_text(sealed({**written()[0], "passed": True}))
    with pytest.raises(GateFailed):
        load(wrong)


def test_without_readable_cases_nothing_is_proved(load: Load, bundle_copy: Path) -> None:
    (bundle_copy / CASES).write_bytes(b"no cases")
    write_hashes(bundle_copy)
    backend = BuiltHere()
    with pytest.raises(BundleError, match="unreadable acceptance cases"):
        load(backend, bundle_copy)
    with pytest.raises(EngineError, match="is closed"):
        backend.loaded[0].enqueue()


def test_other_backends_need_none(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proving, "run_twice", never)
    with Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as cascade:
        assert certify(cascade.chain, Bundle(tiny_bundle)) is None
    assert written() == []


def test_where_it_cannot_be_kept_it_is_proved_every_time(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "file" / "cache"))
    load(BuiltHere())
    with pytest.raises(GateFailed):
        load(BuiltHere({"logits": np.negative}))


def test_those_of_a_bundle_are_found_the_newest_first(load: Load, tiny_bundle: Path) -> None:
    load(BuiltHere())
    load(BuiltHere(build="2"))
    files = sorted(EngineCache().folder.iterdir())
    for path, certificate in zip(files, written(), strict=True):
        older = certificate["engines"]["cls"].endswith("2")
        path.write_text(sealed({**certificate, "made": "2026-01-01" if older else "2026-02-01"}))
    assert [one.made for one in certificates(Bundle(tiny_bundle))] == ["2026-02-01", "2026-01-01"]
    for path, certificate in zip(files, written(), strict=True):
        path.write_text(sealed({**certificate, "bundle_sha256": "other"}))
    assert certificates(Bundle(tiny_bundle)) == []


def test_they_go_with_their_engines(load: Load, tiny_bundle: Path) -> None:
    (certificate,) = load(BuiltHere())
    cache = EngineCache()
    for name, sha256 in certificate["engines"].items():
        fetch(cache, {"network": name}, lambda name=name: name.encode())  # type: ignore[misc]
        Store(cache.folder).write({"network": name}, {"size": len(name), "sha256": sha256})
    prune_certificates()
    assert len(written()) == 1
    cache.drop({"network": "cls"})
    prune_certificates()
    assert written() == []

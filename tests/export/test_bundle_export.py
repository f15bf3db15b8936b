"""From a system to a bundle that proves itself, or to nothing at all."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from ckd.console import Progress
from ckd.contract.bundle import Bundle
from ckd.contract.errors import (
    BundleError,
    CkdError,
    GateFailed,
    InputError,
    UsageError,
)
from ckd.contract.hashes import write_hashes
from ckd.export import bundle as bundle_module
from ckd.export import cli
from ckd.export.bundle import write_bundle
from ckd.export.model_card import Evidence, model_card
from ckd.export.parity import check_parity, expected_tensors, parity_images
from ckd.export.run import measured_scores, merged_as
from ckd.export.verify import verify_bundle
from ckd.finding.sentences import NOTICE
from ckd.runtime import Cascade
from ckd.runtime.cases import CASES, TOLERANCES
from ckd.runtime.verdicts import VERDICTS
from ckd.scores.metrics import SegmentationScores, classification_scores
from ckd.train.evaluation.summary import Evaluation
from ckd.train.folds import folded
from ckd.train.systems import rewrite
from ckd.train.systems.graph import Node, System

if TYPE_CHECKING:
    from onnx import ModelProto

PROVENANCE = {"data": "none: weights are random", "licence": "Apache-2.0"}


@pytest.fixture
def system(make_tiny_system: Callable[[], System]) -> System:
    return make_tiny_system()


@pytest.fixture
def quick_export(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes the committed networks, which have the same weights, instead of exporting anew."""

    def copy(node: Node, system: System, path: Path, precision: str) -> None:
        shutil.copy(tiny_bundle / path.name, path)

    monkeypatch.setattr(bundle_module, "export_onnx", copy)


def export(system: System, out: Path, **more: Any) -> None:
    write_bundle(system, out, name="tiny", provenance=PROVENANCE, **more)


# What is written


def test_the_committed_bundle_is_what_its_generator_makes(
    system: System, tiny_bundle: Path, tmp_path: Path
) -> None:
    """If this fails, networks or format have changed: run `python tests/tiny_bundle.py`."""
    export(system, tmp_path / "again")
    committed, again = Bundle(tiny_bundle), Bundle(tmp_path / "again")
    assert again.spec == committed.spec
    assert set(again.files) == set(committed.files)
    for node in committed.spec.nodes:
        operators, as_committed = (
            [
                (operator.op_type, [*operator.input], [*operator.output])
                for operator in onnx.load_from_string(b.read(node.files["fp32"])).graph.node
            ]
            for b in (again, committed)
        )
        assert operators == as_committed, node.name
    images = parity_images(system.image_size)
    with Cascade.load(tiny_bundle) as one, Cascade.load(tmp_path / "again") as two:
        expected = expected_tensors(system, folded(system), images)
        check_parity(one, images, expected)
        check_parity(two, images, expected)


@pytest.mark.usefixtures("quick_export")
def test_a_bundle_is_complete_and_passes_its_own_checks(system: System, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    out = tmp_path / "new" / "bundle"
    report = write_bundle(
        system,
        out,
        name="tiny",
        provenance=PROVENANCE,
        bars=lambda what: lambda done, total: told.append((what, done, total)),
    )
    assert sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()
    ) == [
        CASES,
        TOLERANCES,
        VERDICTS,
        "cascade.json",
        "cls.fp32.onnx",
        "hashes.json",
        "model_card.md",
        "rootseg.fp32.onnx",
        "seg_decoder.fp32.onnx",
        "seg_encoder.fp32.onnx",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]
    assert {entry.tensor for entry in report.parity["fp32"]} == {
        name for node in system.nodes for name in node.outputs
    }
    assert told[:5] == [("export", done, 4) for done in range(5)]
    assert told[5:] == [("compare with PyTorch", done, 1) for done in range(2)]
    checked = verify_bundle(out)
    assert (checked["name"], checked["num_files"]) == ("tiny", 9)
    assert checked["sha256"] == Bundle(out).digest()
    assert checked["num_bytes"] == Bundle(out).num_bytes()
    assert [case["passed"] for case in checked["cases"]["fp32"]] == [True] * 4


@pytest.mark.usefixtures("quick_export")
def test_the_model_card_says_what_must_be_known(system: System, tmp_path: Path) -> None:
    export(system, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "model_card.md").read_text()
    for words in (NOTICE, "MEL (melanoma)", "Apache-2.0", "none: weights are random", "32 x 32 px"):
        assert words in card
    assert "Nothing was measured" in card
    assert "gets the most similar" in card


def test_the_model_card_says_that_an_image_may_be_of_no_label(tiny_bundle: Path) -> None:
    spec = Bundle(tiny_bundle).spec
    apart = replace(spec, outputs=replace(spec.outputs, exclusive=False))
    card = model_card(apart, Evidence())
    assert "an image may be of none" in card
    assert "gets the most similar" not in card


@pytest.mark.usefixtures("quick_export")
def test_what_was_measured_goes_into_the_bundle(system: System, tmp_path: Path) -> None:
    probabilities = np.array([[0.7, 0.1, 0.2], [0.1, 0.1, 0.8], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5]])
    measured = Evaluation(
        recipe="tiny",
        weights="a digest",
        dataset="ISIC 2017",
        split="test",
        views="1",
        mask_threshold=0.5,
        labels=system.labels,
        exclusive=True,
        images=(),
        fine=SegmentationScores(0.76543, 0.7, 0.85, 0.8, 0.9, 0.9, 4),
        coarse=None,
        classification=classification_scores(
            probabilities, np.array([0, 2, 2, 0]), system.labels, ("MEL",)
        ),
        intervals={
            "fine": {"jaccard": (0.7, 0.8)},
            "labels": {"auc_MEL": (0.5, 1.0), "mean_auc": (None, None)},
        },
    )
    curves = tmp_path / "learning_curves.png"
    curves.write_bytes(b"a picture")
    evidence = Evidence(
        scores=json.loads(json.dumps(measured.as_dict())),
        learning_curves=curves,
        notes="## Chosen\n\nby the flip of a coin",
    )
    export(system, tmp_path / "bundle", evidence=evidence)
    bundle = Bundle(tmp_path / "bundle")
    bundle.verify()
    card = bundle.read("model_card.md").decode()
    assert "ISIC 2017 (test split)" in card
    assert "masks cut at 0.5" in card
    assert "| fine jaccard | 0.765 | 0.700 to 0.800 |" in card
    assert "| auc MEL | 0.750 | 0.500 to 1.000 |" in card
    assert "by the flip of a coin" in card
    assert "](learning_curves.png)" in card
    assert bundle.read("learning_curves.png") == b"a picture"


def test_a_merged_graph_answers_as_the_unmerged_one(
    system: System, tiny_bundle: Path, tmp_path: Path
) -> None:
    merged = rewrite.merged(system, ("seg_encoder", "seg_decoder"), "seg")
    export(merged, tmp_path / "merged")
    images = parity_images(system.image_size, 3)
    with Cascade.load(tiny_bundle) as apart, Cascade.load(tmp_path / "merged") as together:
        assert [node.name for node in together.spec.nodes] == ["rootseg", "cls", "seg"]
        assert {"g0", "h1", "h2", "h3", "h4"}.isdisjoint(together.spec.shapes)
        for image in images:
            expected, given = apart.chain.run_all(image), together.chain.run_all(image)
            for name in together.spec.outputs.names():
                np.testing.assert_allclose(given[name], expected[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("wishes", "nodes"),
    [
        (["seg=seg_encoder,seg_decoder"], ["rootseg", "cls", "seg"]),
        (["a=rootseg,cls", "b=a,seg_encoder,seg_decoder"], ["b"]),
    ],
)
def test_nodes_are_merged_as_the_command_is_told(
    system: System, wishes: list[str], nodes: list[str]
) -> None:
    for wish in wishes:
        system = merged_as(system, wish)
    assert [node.name for node in system.nodes] == nodes


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("seg_encoder,seg_decoder", "--merge seg_encoder,seg_decoder: expected NAME=NODE,NODE"),
        ("seg=", "--merge seg=: expected NAME=NODE,NODE"),
        ("../seg=cls,rootseg", "expected NAME=NODE,NODE"),
        ("seg=seg_encoder,", "expected NAME=NODE,NODE"),
        (
            "seg=seg_encoder,fusion",
            "no node named fusion; expected rootseg, cls, seg_encoder, seg_decoder",
        ),
        ("cls=seg_encoder,seg_decoder", "two nodes are named cls"),
        ("seg=rootseg,seg_decoder", "cannot fuse rootseg, seg_decoder"),
    ],
)
def test_a_merge_that_cannot_be_is_refused(system: System, wish: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        merged_as(system, wish)


# Nothing is written


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize("node", ["rootseg", "cls", "seg_encoder", "seg_decoder"])
def test_a_weight_changed_behind_its_back_closes_the_gate_and_leaves_nothing(
    system: System, tmp_path: Path, node: str
) -> None:
    def meddle(done: int, total: int) -> None:
        if (done, total) == (3, 4):  # the others are exported, and seg_decoder is copied
            with torch.no_grad():
                *_, last = system.networks[node].parameters()
                last.add_(0.1)

    with pytest.raises(GateFailed, match="the exported chain differs from PyTorch by"):
        export(system, tmp_path / "bundle", bars=lambda what: meddle)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick_export")
@pytest.mark.parametrize(
    "step",
    [("export", 0), ("export", 3), ("compare with PyTorch", 0), ("compare with PyTorch", 1)],
)
@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, OSError])
def test_an_interrupted_export_leaves_nothing(
    system: System, tmp_path: Path, step: tuple[str, int], interruption: type[BaseException]
) -> None:
    def interrupting(what: str) -> Progress:
        def progress(done: int, total: int) -> None:
            if (what, done) == step:
                raise interruption

        return progress

    with pytest.raises(interruption):
        export(system, tmp_path / "bundle", bars=interrupting)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_exists_is_not_touched(system: System, tmp_path: Path, kind: str) -> None:
    out = tmp_path / "bundle"
    out.mkdir() if kind == "folder" else out.write_text("mine")
    with pytest.raises(UsageError, match="bundle exists; name another folder or remove it"):
        export(system, out)
    assert list(tmp_path.rglob("*")) == [out]


# What verification finds


def _change_weight(folder: Path) -> None:
    path = folder / "cls.fp32.onnx"
    model: ModelProto = onnx.load(str(path))
    bias = next(i for i in model.graph.initializer if i.dims == [3])
    values = onnx.numpy_helper.to_array(bias) + np.array([3, 0, 0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, str(path))


def _edit_json(name: str, change: Callable[[Any], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        tree = json.loads((folder / name).read_text())
        change(tree)
        (folder / name).write_text(json.dumps(tree))

    return edit


def _rewire(tree: dict[str, Any]) -> None:
    tree["nodes"][0], tree["nodes"][1] = tree["nodes"][1], tree["nodes"][0]


#: What is done to a bundle, whether the list of hashes is made to fit again, and what must follow.
DAMAGE: dict[str, tuple[Callable[[Path], object], bool, type[CkdError], str]] = {
    "byte": (
        lambda folder: (folder / "model_card.md").write_text("better"),
        False, BundleError, r"model_card\.md was changed",
    ),
    "missing network": (
        lambda folder: (folder / "cls.fp32.onnx").unlink(),
        False, BundleError, r"cls\.fp32\.onnx is missing",
    ),
    "network taken off the list": (
        lambda folder: (folder / "cls.fp32.onnx").unlink(),
        True, BundleError, r"cls\.fp32\.onnx is not listed",
    ),
    "stowaway": (
        lambda folder: (folder / "run_me.sh").touch(), False, BundleError, "'run_me.sh' is not"
    ),
    "wiring": (_edit_json("cascade.json", _rewire), True, BundleError, "cls needs 'coarse_logits'"),
    "schema": (
        _edit_json("cascade.json", lambda t: t.update(schema=9)), True, BundleError, "schema 9"
    ),
    "shape": (
        _edit_json("cascade.json", lambda t: t["tensors"]["h1"].update(shape=[1, 4, 8, 9])),
        True, BundleError, "seg_encoder: the file takes",
    ),
    "networks exchanged": (
        lambda folder: shutil.copy(folder / "rootseg.fp32.onnx", folder / "seg_encoder.fp32.onnx"),
        True, BundleError, "seg_encoder: the file takes",
    ),
    "garbage for a network": (
        lambda folder: (folder / "cls.fp32.onnx").write_bytes(b"garbage"),
        True, BundleError, "no ONNX file",
    ),
    "weights": (_change_weight, True, GateFailed, "4 of 4 acceptance cases failed on onnxruntime"),
    "labels exchanged for fewer": (
        _edit_json("cascade.json", lambda t: t["labels"].pop()), True, BundleError, "2 labels, but"
    ),
    "impossible tolerance": (
        _edit_json(TOLERANCES, lambda t: t["fp32"].update(mask_jaccard=1.1)),
        True, GateFailed, "4 of 4 acceptance cases failed",
    ),
    "no cases": (
        lambda folder: (folder / CASES).write_bytes(b""),
        True, BundleError, "unreadable acceptance cases",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DAMAGE)
def test_every_kind_of_damage_is_found(bundle_copy: Path, case: str) -> None:
    damage, rehash, error, message = DAMAGE[case]
    damage(bundle_copy)
    if rehash:
        write_hashes(bundle_copy)
    with pytest.raises(error, match=message) as caught:
        verify_bundle(bundle_copy)
    assert "\n" not in str(caught.value)


def test_an_undamaged_copy_and_its_zip_pass(bundle_copy: Path) -> None:
    steps: list[tuple[int, int]] = []
    report = verify_bundle(bundle_copy, lambda done, total: steps.append((done, total)))
    assert steps == [(0, 2), (1, 2), (2, 2)]  # the hashes, and one precision
    archive = shutil.make_archive(str(bundle_copy), "zip", bundle_copy)
    assert verify_bundle(Path(archive)) == {**report, "bundle": archive}


@pytest.mark.parametrize(
    ("name", "code", "out", "err"),
    [("bundle", 0, "hashes, wiring and shapes fit; acceptance cases passed: 4 in fp32", ""),
     ("nowhere", 5, "", "error: ")],
)  # fmt: skip
def test_the_command_ends_with_the_documented_code(
    bundle_copy: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    code: int,
    out: str,
    err: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["ckd-export", "verify", str(bundle_copy.with_name(name))])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code or 0) == code
    printed = capsys.readouterr()
    assert out in printed.out
    assert printed.err.startswith(err)
    assert printed.err.count("\n") == (1 if err else 0)


def test_scores_of_something_else_are_refused(system: System, tmp_path: Path) -> None:
    path = tmp_path / "evaluate" / "scores.json"
    path.parent.mkdir()
    right = {"weights": system.digest(), "mask_threshold": system.mask_threshold}
    path.write_text(json.dumps(right))
    assert measured_scores(tmp_path, system) == right
    for text, message in (
        (json.dumps({**right, "mask_threshold": 0.68}), "at another mask threshold"),
        (json.dumps({**right, "weights": "of before"}), "of other weights"),
        ("[]", "damaged"),
        ("{}", "damaged"),
        ("{", "damaged"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=rf"{message}.*ckd-train evaluate"):
            measured_scores(tmp_path, system)


@pytest.mark.slow
def test_half_precision_files_are_half_as_large_and_answer_alike(
    explained_bundle: Path,
) -> None:
    spec = Bundle(explained_bundle).spec
    assert spec.file_kinds() == ("fp32", "fp16")
    assert {spec["fp16"] for name, spec in spec.dtypes.items()} == {"uint8", "float16"}
    for node in spec.nodes:
        model = onnx.load(explained_bundle / node.files["fp16"])
        kinds = {onnx.TensorProto.DataType.Name(w.data_type) for w in model.graph.initializer}
        assert "FLOAT16" in kinds
        assert "FLOAT" not in {  # but for a few numbers, such as the image's mean
            onnx.TensorProto.DataType.Name(w.data_type)
            for w in model.graph.initializer
            if np.prod(w.dims) > 4
        }
    image = parity_images(spec.image_size, 1)[0]
    answers = {}
    for precision in spec.file_kinds():
        with Cascade.load(explained_bundle, "onnxruntime", precision=precision) as cascade:
            finding = cascade.predict(image)
            assert finding.precision == precision
            answers[precision] = np.array(list(finding.probabilities.values()))
    np.testing.assert_allclose(answers["fp16"], answers["fp32"], atol=0.02)


@pytest.mark.parametrize(("precisions", "message"), [
    (("fp32", "int4"), "unknown precision 'int4'; expected fp32, fp16"),
    (("fp16",), "add fp32"),
])  # fmt: skip
def test_precisions_that_cannot_be_are_refused(
    system: System, tmp_path: Path, precisions: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        export(system, tmp_path / "bundle", precisions=precisions)
    assert not (tmp_path / "bundle").exists()

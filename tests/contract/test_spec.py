"""`cascade.json`: what fits together is read back as it was written, everything else is refused."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ckd.contract.cascade_json import SCHEMA, spec_from_json, spec_to_json
from ckd.contract.errors import BundleError
from ckd.contract.spec import CascadeSpec, NodeSpec, OutputSpec
from ckd.contract.wiring import IMAGE

Tree = dict[str, Any]
Change = Callable[[Tree], object]


@pytest.fixture
def tree(tiny_bundle: Path) -> Tree:
    content: Tree = json.loads((tiny_bundle / "cascade.json").read_text())
    return content


def small() -> CascadeSpec:
    """Two nodes and one edge."""
    return CascadeSpec(
        name="small",
        system="test",
        labels=("A", "B"),
        tasks=("A",),
        shapes={"image": (1, 8, 8, 3), "edge": (1, 2, 4, 4), "logits": (1, 2)},
        dtypes={
            "image": {"fp32": "uint8", "fp16": "uint8"},
            "edge": {"fp32": "float32", "fp16": "float16"},
            "logits": {"fp32": "float32", "fp16": "float32"},
        },
        nodes=(
            NodeSpec("first", (IMAGE,), ("edge",), {"fp32": "a.onnx", "fp16": "a16.onnx"}),
            NodeSpec("second", ("edge", IMAGE), ("logits",), {"fp32": "b.onnx"}),
        ),
        outputs=OutputSpec(class_logits="logits"),
        mask_threshold=0.5,
        provenance={"data": "none"},
    )


def test_label_thresholds_of_earlier_versions_are_read_and_left_out(tree: Tree) -> None:
    tree["thresholds"] = {"mask": 0.7, **dict.fromkeys(tree["labels"], 0.5)}
    spec = spec_from_json(json.dumps(tree))
    assert spec.mask_threshold == 0.7
    assert json.loads(spec_to_json(spec))["thresholds"] == {"mask": 0.7}


def test_what_is_written_is_read_back_equal(tiny_bundle: Path) -> None:
    spec = small()
    assert spec_from_json(spec_to_json(spec)) == spec
    text = (tiny_bundle / "cascade.json").read_text()
    assert spec_to_json(spec_from_json(text)) == text
    assert spec_from_json(text.encode()) == spec_from_json(text)


def test_features_are_written_where_there_are_any_and_earlier_versions_read_the_rest() -> None:
    spec = small()
    assert "features" not in json.loads(spec_to_json(spec))["outputs"]
    spec = replace(
        spec,
        shapes={**spec.shapes, "pooled": (1, 5)},
        dtypes={**spec.dtypes, "pooled": spec.dtypes["logits"]},
        nodes=(spec.nodes[0], replace(spec.nodes[1], outputs=("logits", "pooled"))),
        outputs=OutputSpec("logits", features="pooled"),
    )
    assert json.loads(spec_to_json(spec))["outputs"]["features"] == "pooled"
    assert spec_from_json(spec_to_json(spec)) == spec
    assert spec.outputs.names() == ("logits", "pooled")
    assert spec.outputs.renamed(str.upper) == OutputSpec("LOGITS", features="POOLED")


def test_the_tiny_bundle_is_wired_as_the_paper_has_it(tiny_bundle: Path) -> None:
    spec = spec_from_json((tiny_bundle / "cascade.json").read_text())
    assert [node.name for node in spec.nodes] == [
        "rootseg",
        "cls",
        "seg_encoder",
        "seg_decoder",
    ]
    assert spec.image_size == 32
    assert spec.outputs == OutputSpec("logits", "mask_logits", "coarse_logits", True)
    assert spec.outputs.names() == ("logits", "mask_logits", "coarse_logits")
    assert str(spec.tensor("coarse_logits", "fp32")) == "coarse_logits float32[1, 1, 8, 8]"
    assert str(spec.tensor(IMAGE, "fp32")) == "image uint8[1, 32, 32, 3]"


def test_a_precision_is_offered_if_every_node_has_it() -> None:
    spec = small()
    assert spec.file_kinds() == ("fp32",)
    first, second = spec.nodes
    both = replace(spec, nodes=(first, replace(second, files={"fp16": "b", "fp32": "b"})))
    assert both.file_kinds() == ("fp32", "fp16")
    assert both.tensor("edge", "fp16").dtype == "float16"


def test_a_system_may_give_masks_only(tree: Tree) -> None:
    tree["outputs"].update(class_logits=None, coarse_logits=None)
    assert spec_from_json(json.dumps(tree)).outputs.names() == ("mask_logits",)


# Refused. Each case changes the tiny bundle's tree and says what the message must hold.


def _node(tree: Tree, name: str) -> Tree:
    return next(node for node in tree["nodes"] if node["name"] == name)


REFUSED: dict[str, tuple[Change, str]] = {
    # schema
    "newer schema": (lambda t: t.update(schema=3), "schema 3, this version of ckd reads 2"),
    "older schema": (lambda t: t.update(schema=1), "schema 1, .*`ckd-export upgrade BUNDLE"),
    "schema of another type": (lambda t: t.update(schema="1"), "schema '1', this version"),
    "no schema": (lambda t: t.pop("schema"), "'schema' is missing"),
    # wiring
    "no nodes": (lambda t: t.update(nodes=[]), "there are no nodes"),
    "duplicate node": (lambda t: t["nodes"].append(t["nodes"][0]), "two of the nodes .* one name"),
    "duplicate node under its name": (
        lambda t: _node(t, "seg_encoder").update(name="rootseg"),
        "two of the nodes rootseg, cls, rootseg, seg_decoder have one name",
    ),
    "tensor produced twice": (
        lambda t: _node(t, "cls")["outputs"].append("gate1"),
        "cls produces 'gate1', which exists before it",
    ),
    "image produced": (
        lambda t: _node(t, "cls")["outputs"].append("image"),
        "cls produces 'image', which exists before it",
    ),
    "self-loop": (
        lambda t: _node(t, "cls")["inputs"].append("logits"),
        "cls needs 'logits', which no node before it produces",
    ),
    "cycle": (
        lambda t: _node(t, "rootseg")["inputs"].append("mask_logits"),
        "rootseg needs 'mask_logits', which no node before it produces",
    ),
    "wrong order": (
        lambda t: t["nodes"].reverse(),
        "seg_decoder needs 'g0', which no node before it produces",
    ),
    "missing node": (
        lambda t: t["nodes"].remove(_node(t, "seg_encoder")),
        "seg_decoder needs 'g0', which no node before it produces",
    ),
    "last node missing": (
        lambda t: t["nodes"].remove(_node(t, "seg_decoder")),
        "no node produces the output 'mask_logits'",
    ),
    "unknown result": (
        lambda t: t["outputs"].update(mask_logits="elsewhere"),
        "no node produces the output 'elsewhere'",
    ),
    "tensor not described": (lambda t: t["tensors"].pop("gate2"), "'gate2' is not described"),
    "image not described": (lambda t: t["tensors"].pop("image"), "'image' is not described"),
    "tensor of nobody": (
        lambda t: t["tensors"].update(ghost={"shape": [1], "dtype": {"fp32": "float32"}}),
        "no node produces the tensor 'ghost'",
    ),
    # files and precisions
    "no files": (lambda t: _node(t, "cls").update(files={}), "no kind of file that every node has"),
    "no common precision": (
        lambda t: _node(t, "cls").update(files={"int8": "cls.int8.onnx"}),
        "no kind of file that every node has",
    ),
    "unknown precision": (
        lambda t: _node(t, "cls").update(files={"fp64": "cls.onnx"}),
        "no kind of file that every node has",
    ),
    "file of another type": (
        lambda t: _node(t, "cls").update(files={"fp32": ["cls.onnx"]}),
        "the files of cls are not names",
    ),
    # tensors
    "no type in a precision": (
        lambda t: t["tensors"]["gate1"].update(dtype={}),
        "tensor 'gate1' has no type in fp32",
    ),
    "unknown type": (
        lambda t: t["tensors"]["gate1"].update(dtype={"fp32": "float64"}),
        "dtype 'float64' is none of uint8, float32, float16",
    ),
    "empty shape": (lambda t: t["tensors"]["gate1"].update(shape=[]), "is not static"),
    "zero in a shape": (lambda t: t["tensors"]["gate1"].update(shape=[1, 0]), "is not static"),
    "negative shape": (lambda t: t["tensors"]["gate1"].update(shape=[-1, 4]), "is not static"),
    "words in a shape": (lambda t: t["tensors"]["gate1"].update(shape=["N", 4]), "is not static"),
    "fractions in a shape": (lambda t: t["tensors"]["gate1"].update(shape=[1.5]), "is not static"),
    "true in a shape": (lambda t: t["tensors"]["gate1"].update(shape=[True, 4]), "is not static"),
    "a hundred axes": (lambda t: t["tensors"]["gate1"].update(shape=[1] * 100), "has 100 axes"),
    "a size of many digits": (
        lambda t: t["tensors"]["gate1"].update(shape=[10**200]), "is over 1024 MiB"
    ),
    "shape of another type": (lambda t: t["tensors"]["gate1"].update(shape=4), "malformed"),
    "huge tensor": (
        lambda t: t["tensors"]["gate1"].update(shape=[2**40, 2**40]),
        "gate1 float32.* is over 1024 MiB",
    ),
    "image in float": (
        lambda t: t["tensors"]["image"].update(dtype={"fp32": "float32"}),
        r"the image is image float32\[1, 32, 32, 3\], expected uint8",
    ),
    "image not square": (
        lambda t: t["tensors"]["image"].update(shape=[1, 32, 64, 3]), "expected uint8"
    ),
    "image in NCHW": (
        lambda t: t["tensors"]["image"].update(shape=[1, 3, 32, 32]), "expected uint8"
    ),
    "image as batch": (
        lambda t: t["tensors"]["image"].update(shape=[2, 32, 32, 3]), "expected uint8"
    ),
    "image without batch": (
        lambda t: t["tensors"]["image"].update(shape=[32, 32, 3]), "expected uint8"
    ),
    # results
    "a label too many": (
        lambda t: t["labels"].append("BCC"),
        r"4 labels, but logits has shape \[1, 3\]",
    ),
    "a label too few": (lambda t: t["labels"].pop(), r"2 labels, but logits has shape \[1, 3\]"),
    "label twice": (
        lambda t: t.update(labels=["MEL", "MEL", "NEV"]),
        "two of the labels MEL, MEL, NEV have one name",
    ),
    "mask of another rank": (
        lambda t: t["outputs"].update(mask_logits="logits"),
        r"logits has shape \[1, 3\], expected \[1, 1, height, width\]",
    ),
    "mask of many channels": (
        lambda t: t["outputs"].update(coarse_logits="gate1"),
        r"gate1 has shape \[1, 4, 8, 8\], expected \[1, 1, height, width\]",
    ),
    "unknown kind of result": (lambda t: t["outputs"].update(depth="logits"), "malformed"),
    "class map of no logits": (
        lambda t: t["outputs"].update(class_logits=None, class_map="logits"),
        "logits explains class logits, and there are none",
    ),
    "features of no logits": (
        lambda t: t["outputs"].update(class_logits=None, features="logits"),
        "logits is what class logits are made of, and there are none",
    ),
    "features of many places": (
        lambda t: t["outputs"].update(features="gate1"),
        r"gate1 has shape \[1, 4, 8, 8\], expected \[1, channels\]",
    ),
    "features that nobody computes": (
        lambda t: t["outputs"].update(features="pooled"), "no node produces the output 'pooled'"
    ),
    "features by number": (
        lambda t: t["outputs"].update(features=7), "no node produces the output 7"
    ),
    "exclusive in words": (
        lambda t: t["outputs"].update(exclusive="no"), "exclusive is 'no', expected true or false"
    ),
    "result of another type": (lambda t: t["outputs"].update(mask_logits=["x"]), "malformed"),
    # thresholds
    "threshold 0": (lambda t: t["thresholds"].update(mask=0), "mask threshold is 0.0, not between"),
    "threshold 1": (lambda t: t["thresholds"].update(mask=1), "mask threshold is 1.0, not between"),
    "threshold NaN": (
        lambda t: t["thresholds"].update(mask=float("nan")), "NaN is no finite number"
    ),
    "threshold of 400 digits": (
        lambda t: t["thresholds"].update(mask=10**400), "a number has 401 digits, expected 300"
    ),
    "threshold of a large number": (
        lambda t: t["thresholds"].update(mask=10**200), "mask threshold is 1e.200, not between"
    ),
    "true as threshold": (lambda t: t["thresholds"].update(mask=True), "True is no number"),
    "threshold in quotes": (lambda t: t["thresholds"].update(mask="0.5"), "'0.5' is no number"),
    "threshold of no label": (lambda t: t["thresholds"].update(XX=0.5), "threshold 'XX' is not"),
    "thresholds in a list": (lambda t: t.update(thresholds=[]), "thresholds is no JSON object"),
    "sections in a list": (lambda t: t.update(sections=[]), "sections is no JSON object"),
    # what answers would rest on
    "another order of colours": (
        lambda t: t["preprocess"].update(colour="BGR"), "preprocess is .*'BGR'.*, expected .*'RGB'"
    ),
    "another size": (lambda t: t["preprocess"].update(size=0), "preprocess is .*, expected"),
    "task of no label": (lambda t: t.update(tasks=["XX"]), "the task 'XX' is no label"),
    "no name": (lambda t: t.update(name=""), "'' is no name"),
    "path in the name": (lambda t: t.update(name="../x"), "'../x' is no name"),
    "threshold in words": (lambda t: t["thresholds"].update(mask="half"), "malformed"),
    # names that would spoil what is printed, or be taken apart into letters
    "label of letters": (lambda t: t.update(labels="ABC"), "'ABC' is no list of names"),
    "label of another type": (lambda t: t.update(labels=[1, 2, 3]), "is no list of names"),
    "line break in a label": (
        lambda t: t.update(labels=["MEL\n", "SBK", "NEV"]), "is no name for a label"
    ),
    "escape in a node's name": (
        lambda t: _node(t, "cls").update(name="\x1b[31mcls"), "is no name for a node"
    ),
    "line break in the name": (lambda t: t.update(name="a\nb"), "is no name"),
    "node without a name": (lambda t: _node(t, "cls").update(name=""), "'' is no name for a node"),
    "node's name of another type": (
        lambda t: _node(t, "cls").update(name=[1]), "is no name for a node"
    ),
    "inputs of letters": (lambda t: _node(t, "cls").update(inputs="image"), "is no list of names"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together_is_refused(tree: Tree, case: str) -> None:
    change, message = REFUSED[case]
    change(tree)
    with pytest.raises(BundleError, match=f"^cascade.json: .*{message}") as caught:
        spec_from_json(json.dumps(tree))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "system",
        "labels",
        "tasks",
        "tensors",
        "nodes",
        "outputs",
        "thresholds",
        "provenance",
    ],
)
@pytest.mark.parametrize("value", [None, 5, "text", [], ["x"], [[1]], {"x": 1}, {"x": {}}, "drop"])
def test_a_part_of_the_wrong_kind_is_refused(tree: Tree, key: str, value: Any) -> None:
    tree[key] = value
    if value == "drop":
        del tree[key]
    fits = key in ("name", "system") or (key, str(value)) in {
        ("tasks", "[]"),
        ("provenance", "[]"),
        ("provenance", "{'x': 1}"),
        ("provenance", "{'x': {}}"),
    }
    if fits and value != "drop":
        assert spec_from_json(json.dumps(tree)).labels == ("MEL", "SBK", "NEV")
        return
    with pytest.raises(BundleError, match=r"^cascade\.json: "):
        spec_from_json(json.dumps(tree))


@pytest.mark.parametrize(
    "text", ["", "{", "nonsense", "\x00", "null", "[]", '"text"', "7", "[" * 100_000]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=r"^cascade\.json: (not JSON|malformed)"):
        spec_from_json(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(BundleError, match=r"^cascade\.json: malformed"):
        spec_from_json(b"\xff\xfe\xff")


def test_no_damage_raises_anything_else(tiny_bundle: Path) -> None:
    intact = (tiny_bundle / "cascade.json").read_bytes()
    chance = random.Random(0)
    refused: list[str] = []
    for _ in range(500):
        content = bytearray(intact)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.choice(b'0123456789"[]{},:-.eE xn\x00')
        try:
            spec_from_json(bytes(content))
        except BundleError as error:
            refused.append(str(error))
    assert len(refused) > 250
    assert not [message for message in refused if "\n" in message]


def test_a_spec_made_in_code_is_checked_too() -> None:
    with pytest.raises(BundleError, match="'edge' has no type in fp32"):
        replace(small(), dtypes={"image": {"fp32": "uint8"}, "logits": {"fp32": "float32"}})
    with pytest.raises(BundleError, match="first needs 'elsewhere'"):
        replace(small(), nodes=(NodeSpec("first", ("elsewhere",), ("edge",), {"fp32": "a"}),))


def test_the_schema_number_is_the_one_that_is_documented() -> None:
    assert SCHEMA == json.loads(spec_to_json(small()))["schema"] == 2


def with_section(informative: object, tiny: str) -> str:
    section = {"content": {"temperature": 1.5}, "informative": informative}
    return json.dumps(json.loads(tiny) | {"sections": {"of-tomorrow": section}})


def test_a_section_that_is_not_known_is_refused_by_its_name() -> None:
    text = with_section(False, spec_to_json(small()))
    with pytest.raises(BundleError, match=r"section 'of-tomorrow' is not known to this version"):
        spec_from_json(text)


def test_an_informative_section_is_passed_over_and_kept() -> None:
    spec = spec_from_json(with_section(True, spec_to_json(small())))
    assert spec.sections["of-tomorrow"].content == {"temperature": 1.5}
    assert spec_from_json(spec_to_json(spec)) == spec


@pytest.mark.parametrize("informative", [None, "yes", 1])
def test_whether_a_section_is_informative_is_true_or_false(informative: object) -> None:
    with pytest.raises(BundleError, match="expected true or false"):
        spec_from_json(with_section(informative, spec_to_json(small())))


def test_a_part_that_is_not_known_is_refused() -> None:
    text = json.dumps(json.loads(spec_to_json(small())) | {"depth": 3})
    with pytest.raises(BundleError, match="'depth' is not understood by this ckd"):
        spec_from_json(text)

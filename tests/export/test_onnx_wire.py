"""An ONNX file must be whole: what `onnx` itself says of files, whole, foreign and damaged.

Values of a foreign tensor are never read here, so the files that it names do not exist.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper

from ckd.contract.bundle import Bundle
from ckd.contract.errors import BundleError
from ckd.contract.hashes import write_hashes
from ckd.contract.onnx_wire import check_whole

WHOLE = ("rootseg", "cls", "seg_encoder", "seg_decoder")


def network(*nodes: Any, weights: list[TensorProto] | None = None, **more: Any) -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    made = nodes or (helper.make_node("Relu", ["x"], ["y"]),)
    graph = helper.make_graph(list(made), "graph", [x], [y], initializer=weights or [])
    return helper.make_model(graph, **more)


def weight(location: str = "weights.bin") -> TensorProto:
    """A tensor whose values lie in another file."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def constant(tensor: TensorProto) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["y"], value=tensor)


def branched(inner: onnx.GraphProto) -> onnx.NodeProto:
    return helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)


def sparse(values: TensorProto, indices: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=values, indices=indices, dims=[1])


def only_located() -> TensorProto:
    tensor = weight()
    tensor.ClearField("external_data")
    return tensor


def only_named() -> TensorProto:
    tensor = weight()
    tensor.ClearField("data_location")
    return tensor


def function() -> onnx.FunctionProto:
    relu = helper.make_node("Relu", ["x"], ["y"])
    opset = helper.make_opsetid("", 18)
    return helper.make_function("own", "F", ["x"], ["y"], [relu], [opset])


def sparse_network() -> onnx.ModelProto:
    model = network()
    model.graph.sparse_initializer.append(sparse(constant_tensor(), weight()))
    return model


def constant_tensor() -> TensorProto:
    return helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0])


def trained() -> onnx.ModelProto:
    model = network()
    model.training_info.add()
    return model


OWN = helper.make_node("Own", ["x"], ["y"], domain="com.example")
FOREIGN: dict[str, Callable[[], onnx.ModelProto]] = {
    "initializer": lambda: network(weights=[weight()]),
    "absolute": lambda: network(weights=[weight("/etc/passwd")]),
    "parent": lambda: network(weights=[weight("../../weights.bin")]),
    "location alone": lambda: network(weights=[only_located()]),
    "name alone": lambda: network(weights=[only_named()]),
    "attribute": lambda: network(constant(weight())),
    "list of tensors": lambda: network(helper.make_node("Relu", ["x"], ["y"], own=[weight()])),
    "inner graph": lambda: network(branched(network(weights=[weight()]).graph)),
    "inner node": lambda: network(branched(network(constant(weight())).graph)),
    "list of graphs": lambda: network(
        helper.make_node("Relu", ["x"], ["y"], own=[network(weights=[weight()]).graph])
    ),
    "sparse initializer": sparse_network,
    "sparse attribute": lambda: network(
        helper.make_node("Constant", [], ["y"], sparse_value=sparse(weight(), constant_tensor()))
    ),
    "operator": lambda: network(OWN),
    "inner operator": lambda: network(branched(network(OWN).graph)),
    "operators of a library": lambda: network(
        helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")
    ),
    "set of operators": lambda: network(opset_imports=[helper.make_opsetid("com.example", 1)]),
    "function": lambda: network(functions=[function()]),
    "training": trained,
}


def is_foreign(model: onnx.ModelProto) -> bool:
    """What `onnx` says: the oracle."""
    if model.functions or model.training_info:
        return True
    if any(opset.domain not in ("", "ai.onnx") for opset in model.opset_import):
        return True
    return is_foreign_graph(model.graph)


def is_foreign_graph(graph: onnx.GraphProto) -> bool:
    tensors = [*graph.initializer]
    tensors += [one for pair in graph.sparse_initializer for one in (pair.values, pair.indices)]
    graphs = []
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            return True
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for pair in (attribute.sparse_tensor, *attribute.sparse_tensors):
                tensors += [pair.values, pair.indices]
            graphs += [attribute.g, *attribute.graphs]
    return any(one.external_data or one.data_location for one in tensors) or any(
        map(is_foreign_graph, graphs)
    )


def refuses(content: bytes) -> bool:
    try:
        check_whole(content)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("name", WHOLE)
def test_networks_of_a_bundle_are_whole(tiny_bundle: Path, name: str) -> None:
    check_whole((tiny_bundle / f"{name}.fp32.onnx").read_bytes())


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_lies_elsewhere_is_found_wherever_it_is_said(
    make: Callable[[], onnx.ModelProto],
) -> None:
    model = make()
    assert is_foreign(model)
    with pytest.raises(ValueError, match=r"outside it|operators of|functions|training"):
        check_whole(model.SerializeToString())


def test_the_same_without_anything_foreign_passes() -> None:
    tensor = constant_tensor()
    for model in (
        network(weights=[tensor]), network(constant(tensor)),
        network(branched(network(constant(tensor)).graph)),
        network(opset_imports=[helper.make_opsetid("ai.onnx", 18)]),
    ):  # fmt: skip
        check_whole(model.SerializeToString())


def test_a_field_that_is_given_twice_counts_both_times() -> None:
    """Of a number the last one counts for a parser, and messages are merged."""
    foreign, whole = (one.SerializeToString() for one in (network(weights=[weight()]), network()))
    for content in (foreign + whole, whole + foreign):
        assert is_foreign(onnx.load_from_string(content))
        assert refuses(content)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00", b"ORTM", b"<xml/>", b"\x08\x07", b"\xff" * 11, b"\x3a\xff\xff\xff\xff\x0f",
        b"\x3a\x02\x0a", b"\x08\x07\x3a\x00"[:3],
    ],
)  # fmt: skip
def test_what_is_no_onnx_is_refused(content: bytes) -> None:
    assert refuses(content)


def nested(graphs: int) -> bytes:
    """A file with so many graphs in each other, each in an attribute of a node."""
    graph = b""
    for _ in range(graphs):
        for key in (0x32, 0x2A, 0x0A):  # in an attribute, in a node, in a graph
            graph = bytes([key]) + varint(len(graph)) + graph
    return b"\x3a" + varint(len(graph)) + graph


def test_nesting_and_numbers_of_fields_end_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    check_whole(nested(10))
    with pytest.raises(ValueError, match="without end"):
        check_whole(nested(20))
    with pytest.raises(ValueError, match="without end"):
        check_whole(nested(2000))
    monkeypatch.setattr("ckd.contract.onnx_wire._MOST_FIELDS", 100)
    with pytest.raises(ValueError, match="more fields"):
        check_whole(b"\x08\x07" * 101)


def test_a_file_that_onnx_runtime_takes_for_its_own_format_is_refused() -> None:
    """It goes by four letters, which may stand in the name of who made an ONNX file."""
    other = b"\x00ORTM" + bytes(40)
    polyglot = b"\x12" + varint(len(other)) + other + b"\x3a\x00"
    assert polyglot[4:8] != b"ORTM" or onnx.load_from_string(polyglot)
    shifted = b"\x12" + varint(len(other) + 1) + b"\x00" + other + b"\x3a\x00"
    for content in (polyglot, shifted):
        assert refuses(content) == (content[4:8] == b"ORTM")
    assert refuses(b"\x12\x2d\x00\x00ORTM" + bytes(39) + b"\x3a\x00")


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def damaged(contents: list[bytes], count: int) -> Iterator[bytes]:
    """Files with bits changed, and with parts cut out, doubled, and mixed with others."""
    rng = random.Random(7)
    for _ in range(count):
        content = bytearray(rng.choice(contents))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            at = rng.randrange(len(content))
            way = rng.choice("bbbbcdm")
            if way == "b":
                content[at] ^= 1 << rng.randrange(8)
            elif way == "c":
                del content[at : at + rng.randint(1, 12)]
            elif way == "d":
                content[at:at] = content[at : at + rng.randint(1, 40)]
            else:
                other = rng.choice(contents)
                start = rng.randrange(len(other))
                content[at:at] = other[start : start + rng.randint(1, 40)]
        yield bytes(content)


def test_whatever_onnx_reads_is_judged_as_by_onnx() -> None:
    """Of what `onnx` can read, all that is foreign is refused, and little that is whole."""
    whole_one = network(weights=[constant_tensor()])
    contents = [make().SerializeToString() for make in FOREIGN.values()]
    contents += 10 * [whole_one.SerializeToString()]
    foreign = whole = refused = unreadable = 0
    for content in damaged(contents, 20_000):
        try:
            model = onnx.load_from_string(content)
        except DecodeError:
            unreadable += 1
            continue
        if is_foreign(model):
            foreign += 1
            assert refuses(content)
        elif refuses(content):
            refused += 1  # as without a graph, or with a group, which no version of ONNX has
        else:
            whole += 1
            assert model.HasField("graph")
    assert min(foreign, whole, unreadable) > 500
    assert refused < 0.2 * whole, (foreign, whole, refused, unreadable)


def test_a_bundle_with_weights_elsewhere_is_refused_before_an_engine_sees_it(
    bundle_copy: Path,
) -> None:
    path = bundle_copy / "cls.fp32.onnx"
    model = onnx.load(str(path))
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="planted.bin")
    path.write_bytes(model.SerializeToString())
    write_hashes(bundle_copy)
    bundle = Bundle(bundle_copy)
    told = r"cls\.fp32\.onnx has weights outside it; export it as one file"
    for read in (bundle.verify, bundle.content("cls.fp32.onnx").read):
        with pytest.raises(BundleError, match=told):
            read()

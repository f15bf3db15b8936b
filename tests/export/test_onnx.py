"""Each network as one plain ONNX file that any of the engines can read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

from ckd.contract.errors import EngineError
from ckd.contract.wiring import IMAGE
from ckd.export import onnx as onnx_module
from ckd.export.onnx import export_onnx
from ckd.train.recipes.catalogue import find_recipe
from ckd.train.systems.graph import Node, System, tensor_shapes

if TYPE_CHECKING:
    from onnx import ModelProto

REPOSITORY = Path(__file__).parents[2]
NAMES = ["rootseg", "cls", "seg_encoder", "seg_decoder"]
#: Those that see the photograph.
SEEING = NAMES[:3]


@dataclass(frozen=True)
class Exported:
    """A system and the folder that holds its networks."""

    system: System
    folder: Path

    def node(self, name: str) -> Node:
        return next(node for node in self.system.nodes if node.name == name)

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def model(self, name: str) -> "ModelProto":
        model: ModelProto = onnx.load(str(self.path(name)), load_external_data=False)
        return model


@pytest.fixture(scope="module")
def exported(
    make_tiny_system: Callable[[], System], tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    made = Exported(make_tiny_system(), tmp_path_factory.mktemp("onnx"))
    for node in made.system.nodes:
        export_onnx(node, made.system, made.path(node.name))
    return made


def random_inputs(exported: Exported, node: Node) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    shapes, side = tensor_shapes(exported.system), exported.system.image_size
    return {
        name: rng.integers(0, 256, (1, side, side, 3), np.uint8)
        if name == IMAGE
        else rng.normal(size=shapes[name]).astype(np.float32)
        for name in node.inputs
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_network_computes_what_pytorch_computes(exported: Exported, name: str) -> None:
    node = exported.node(name)
    inputs = random_inputs(exported, node)
    session = onnxruntime.InferenceSession(str(exported.path(name)))
    given = session.run(list(node.outputs), inputs)
    tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
    if IMAGE in tensors:
        tensors[IMAGE] = exported.system.image_input(tensors[IMAGE])
    with torch.no_grad():
        made = node.module(*(tensors[key] for key in node.inputs))
    expected = (made,) if isinstance(made, torch.Tensor) else made
    for tensor, output, wanted in zip(node.outputs, given, expected, strict=True):
        # float32 on both sides: only the order of sums differs.
        np.testing.assert_allclose(output, wanted.numpy(), rtol=1e-3, atol=1e-4, err_msg=tensor)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_opset_18_and_of_standard_operators_only(exported: Exported, name: str) -> None:
    model = exported.model(name)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 18)]
    assert len(model.functions) == 0
    assert {node.domain for node in model.graph.node} == {""}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_holds_its_weights_itself(exported: Exported, name: str) -> None:
    model = exported.model(name)
    assert {tensor.data_location for tensor in model.graph.initializer} == {
        onnx.TensorProto.DEFAULT
    }
    assert sorted(path.name for path in exported.folder.iterdir()) == sorted(
        f"{other}.onnx" for other in NAMES
    )


@pytest.mark.parametrize("name", NAMES)
def test_inputs_and_outputs_have_the_graphs_names_and_static_shapes(
    exported: Exported, name: str
) -> None:
    node, graph = exported.node(name), exported.model(name).graph
    assert tuple(value.name for value in graph.input) == node.inputs
    assert tuple(value.name for value in graph.output) == node.outputs
    shapes = {**tensor_shapes(exported.system), IMAGE: (1, 32, 32, 3)}
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        assert tuple(size.dim_value for size in tensor.shape.dim) == shapes[value.name]
        is_image = value.name == IMAGE
        assert tensor.elem_type == (onnx.TensorProto.UINT8 if is_image else onnx.TensorProto.FLOAT)


@pytest.mark.parametrize("name", SEEING)
def test_the_image_is_cast_before_anything_else_happens_to_it(
    exported: Exported, name: str
) -> None:
    """TensorRT transposes no uint8."""
    nodes = list(exported.model(name).graph.node)
    first = [node for node in nodes if IMAGE in node.input]
    assert [node.op_type for node in first] == ["Cast"]
    assert [attribute.i for attribute in first[0].attribute if attribute.name == "to"] == [
        onnx.TensorProto.FLOAT
    ]
    second = [node for node in nodes if first[0].output[0] in node.input]
    assert [node.op_type for node in second] == ["Transpose"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_nothing_of_the_machine_it_was_made_on(exported: Exported, name: str) -> None:
    content = exported.path(name).read_bytes()
    for trace in (str(REPOSITORY), str(Path.home()), "site-packages", ".py", "Traceback", 'File "'):
        assert trace.encode() not in content, trace


@pytest.mark.parametrize("suffix", ["onnx", "json", "md", "npz"])
def test_the_committed_bundle_says_nothing_of_it_either(tiny_bundle: Path, suffix: str) -> None:
    files = sorted(tiny_bundle.rglob(f"*.{suffix}"))
    assert files
    for path in files:
        for trace in (str(REPOSITORY), str(Path.home()), "site-packages"):
            assert trace.encode() not in path.read_bytes(), path


def test_exporting_prints_nothing(
    exported: Exported, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    export_onnx(exported.node("seg_encoder"), exported.system, tmp_path / "again.onnx")
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "again.onnx").read_bytes() == exported.path("seg_encoder").read_bytes()


@pytest.fixture
def another_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_module, "OPSET", {"fp32": 19})
    export = torch.onnx.export

    def writes_18(*arguments: Any, **settings: Any) -> Any:
        return export(*arguments, **{**settings, "opset_version": 18})

    monkeypatch.setattr(torch.onnx, "export", writes_18)


@pytest.mark.usefixtures("another_opset")
def test_an_exporter_that_writes_another_opset_is_caught(
    exported: Exported, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="seg_encoder: the exporter wrote opset 18, expected 19"):
        export_onnx(exported.node("seg_encoder"), exported.system, tmp_path / "x.onnx")


def test_a_real_encoder_is_exported_too(tmp_path: Path) -> None:
    """MobileNetV2: depthwise convolutions and ReLU6, which the tiny networks lack."""
    recipe = find_recipe("ckdnet-tiny")
    system = recipe.system.build(("MEL", "NEV"), recipe.tasks, recipe.image_size, None).eval()
    real = Exported(system, tmp_path)
    node = real.node("seg_encoder")
    export_onnx(node, system, real.path(node.name))
    inputs = random_inputs(real, node)
    given = onnxruntime.InferenceSession(str(real.path(node.name))).run(None, inputs)
    with torch.no_grad():
        expected = node.module(system.image_input(torch.from_numpy(inputs[IMAGE])))
    for output, wanted in zip(given, expected, strict=True):
        scale = float(wanted.std())
        np.testing.assert_allclose(output, wanted.numpy(), rtol=0, atol=1e-3 * scale)
    assert {"Conv", "Clip"} <= {made.op_type for made in real.model(node.name).graph.node}

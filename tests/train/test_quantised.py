"""Rounding as exported files round, at exactly the tensors of a placement, learnt and resumable."""

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("safetensors")

import lightning.pytorch as pl
from made_of import made_of
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.quant_utils import quantize_data

from ckd.calibration.int8_bundle import QuantSetting
from ckd.calibration.learnt_bundle import quantise_learnt_bundle
from ckd.calibration.placed import place
from ckd.contract.bundle import Bundle
from ckd.contract.errors import UsageError
from ckd.contract.learnt import read_learnt
from ckd.contract.placement import (
    SIGNED,
    UNSIGNED,
    Grid,
    NetworkPlacement,
    PlacedLayer,
    Placement,
    placement_to_json,
)
from ckd.data.layouts import read_split
from ckd.data.synthetic.write import write_isic2017
from ckd.export.parity import parity_images
from ckd.runtime import Cascade
from ckd.runtime.cpu import lacks_int8_instructions
from ckd.train import cli
from ckd.train.fitting import FitOptions, describe
from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.folds import folded
from ckd.train.quantised import qat, train_quantised
from ckd.train.quantised.network import grids_of, quantised_network, weights_of
from ckd.train.quantised.rounding import LearntGrid, rounded_bias, rounded_weight, weight_scales
from ckd.train.quantised.teaching import (
    quantised_networks,
    quantised_stage,
    with_teacher,
)
from ckd.train.recipes.ckdnet import ckdnet_tiny
from ckd.train.systems.rewrite import explained

if TYPE_CHECKING:
    from ckd.train.systems.graph import System

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in (
        "Checkpoint directory .* exists and is not empty",
        "The number of training batches .* is smaller than the logging interval",
        r"Found \d+ module\(s\) in eval mode at the start of training",
        "Total length of `list` across ranks is zero",
        "`isinstance.treespec, LeafSpec.` is deprecated",
    )
]

OPTIONS = FitOptions(weights=None, accelerator="cpu")
SHORT = [f"stages.quantised.{one}" for one in ("epochs=2", "batch_size=4", "lr=0.01")]


def test_a_tensor_is_rounded_to_its_grid_and_no_further() -> None:
    grid = LearntGrid(Grid(UNSIGNED, None))
    grid.start(25.5)
    assert grid.scale == pytest.approx(0.1)
    x = torch.tensor([-1.0, 0.26, 0.25001, 25.5, 30.0])
    torch.testing.assert_close(grid(x), torch.tensor([0.0, 0.3, 0.3, 25.5, 25.5]))
    signed = LearntGrid(Grid(SIGNED, None))
    signed.start(12.7)
    torch.testing.assert_close(signed(torch.tensor([-20.0, -0.16])), torch.tensor([-12.8, -0.2]))
    clipped = LearntGrid(Grid(UNSIGNED, 6.0))
    clipped.start(9.0)
    assert 255 * clipped.scale < 6.0


def test_gradients_are_those_of_learnt_step_size() -> None:
    grid = LearntGrid(Grid(SIGNED, None))
    grid.start(127 * 0.5)
    x = torch.tensor([0.6, -100.0, 100.0], requires_grad=True)
    grid(x).sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([1.0, 0.0, 0.0]))
    # By hand: round(1.2) - 1.2, then both ends; times the scale, of whose logarithm it is.
    by_scale = (1 - 1.2) + (-128) + 127
    expected = 0.5 * by_scale / np.sqrt(3 * 127)
    assert grid.step.log_scale.grad == pytest.approx(expected, rel=1e-5)


def test_weights_are_rounded_as_onnxruntime_stores_them() -> None:
    torch.manual_seed(0)
    weight = torch.randn(32, 6, 3, 3, requires_grad=True)
    with torch.no_grad():
        weight[3] = 0.0
    rounded = rounded_weight(weight)
    for at, channel in enumerate(weight.detach().numpy()):
        _, scale, steps = quantize_data(channel.flatten(), QuantType.QInt8.tensor_type, True)
        assert weight_scales(weight)[at] == scale
        np.testing.assert_array_equal(rounded[at].detach().flatten(), steps * scale)
    rounded.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert (weight.grad == 1).all()


def test_biases_are_whole_steps_of_the_sums() -> None:
    weight, bias = torch.full((1, 1, 1, 1), 12.7), torch.tensor([0.127])
    rounded = rounded_bias(bias, weight, torch.tensor(0.5))  # steps of 0.05
    torch.testing.assert_close(rounded, torch.tensor([0.15]))
    torch.testing.assert_close(rounded_bias(bias, weight, torch.tensor(0.0)), bias)


@pytest.fixture(scope="module")
def placement(tiny_bundle: Path) -> Placement:
    return place(Bundle(tiny_bundle), QuantSetting())


@pytest.fixture(scope="module")
def taught(make_tiny_system: "Callable[[], System]", placement: Placement) -> "System":
    """All four networks, traced once, which takes seconds; to be copied."""
    return with_teacher(make_tiny_system(), placement)


def test_a_placement_of_another_network_is_refused(
    make_tiny_system: "Callable[[], System]", placement: Placement
) -> None:
    system, cls = make_tiny_system(), placement.networks["cls"]
    deployed, (first, second) = folded(system), cls.layers[:2]
    (node,) = (node for node in deployed.nodes if node.name == "cls")
    elsewhere = replace(first, reads=second.reads), replace(second, reads=first.reads)
    transposed = PlacedLayer("ConvTranspose", "w", first.reads)
    for layers, message in (
        ((*elsewhere, *cls.layers[2:]), f"cls: the run has no layer {first.weight} as placed"),
        ((transposed, *cls.layers), "w is a ConvTranspose, whose rounding cannot be trained"),
    ):
        with pytest.raises(UsageError, match=message) as error:
            quantised_network(node, deployed, replace(cls, layers=layers))
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="the placement has inputs and outputs"):
        quantised_network(node, deployed, replace(cls, outputs=("logits",)))
    with pytest.raises(UsageError, match="the placement is of cls, and the run trains rootseg"):
        with_teacher(system, Placement("other", {"cls": cls}))


def test_a_network_of_which_nothing_is_placed_is_not_trained(
    make_tiny_system: "Callable[[], System]", placement: Placement
) -> None:
    nothing = {n: replace(p, layers=(), tensors={}) for n, p in placement.networks.items()}
    system = with_teacher(make_tiny_system(), Placement("none", nothing))
    assert not quantised_networks(system)
    only_cls = Placement("cls", {**nothing, "cls": placement.networks["cls"]})
    assert quantised_stage(system, only_cls).nodes == ("cls",)


@pytest.fixture(scope="module")
def train(
    taught: "System",
    make_tiny_system: "Callable[[], System]",
    placement: Placement,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Any]]:
    """Trains a run whose networks are those of the tiny bundle, which no recipe builds."""
    folder = tmp_path_factory.mktemp("qat")
    data, run, path = folder / "data", folder / "run", folder / "placement.json"
    write_isic2017(data, num_train=10, num_val=2, side_px=32)
    recipe = replace(ckdnet_tiny(), image_size=32)
    run.mkdir()
    recipe.save(run / "recipe.json")
    (run / "data.json").write_text(json.dumps(describe(read_split(data, "train"), None)))

    def train(out: Path, *settings: str, **given: Any) -> Any:
        bundle = given.pop("bundle", placement.bundle)
        path.write_text(placement_to_json(replace(placement, bundle=bundle)))
        options = replace(OPTIONS, **given.pop("options", {}))
        return train_quantised(run, path, data, out, options, [*SHORT, *settings], **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qat, "load_run", lambda _: (recipe, make_tiny_system()))
        patch.setattr(qat, "with_teacher", lambda *_: copy.deepcopy(taught))
        yield train


class Killed(BaseException):
    """Ends a training as if the process were killed."""


class KillIn(pl.Callback):
    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if (trainer.current_epoch, batch_idx) == (1, 1):
            raise Killed


class Losses(pl.Callback):
    def __init__(self) -> None:
        self.by_epoch: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.by_epoch.append(float(trainer.callback_metrics["train/loss"]))


@pytest.fixture(scope="module")
def whole(train: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training left that was never interrupted."""
    folder, losses = tmp_path_factory.mktemp("whole") / "qat", Losses()
    train(folder, callbacks=[losses])
    assert losses.by_epoch[-1] < losses.by_epoch[0]  # answers come nearer to the teacher's
    return folder


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    train: Callable[..., Any], whole: Path, placement: Placement, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        train(tmp_path / "killed", bundle="as exported the day before", callbacks=[KillIn()])
    assert not (tmp_path / "killed" / "qat.json").exists()
    learnt = train(tmp_path / "killed")
    assert learnt == read_learnt(whole) == read_learnt(tmp_path / "killed")
    weights = [(run / "weights.safetensors").read_bytes() for run in (whole, tmp_path / "killed")]
    assert weights[0] == weights[1]
    assert b"cls/network.encoder.stages.0.0.0.weight" in weights[0]
    assert learnt.placement == placement
    assert learnt.record["placement"] == placement.digest
    assert learnt.record["data"]["num_train"] == 10
    with pytest.raises(UsageError, match="holds a run of other settings"):
        train(tmp_path / "killed", "stages.quantised.lr=0.5")


def test_a_run_of_other_images_is_refused(train: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"trained on 10 other images than the 5 given; give the"):
        train(tmp_path / "out", options={"fold": (0, 2)})
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    lacks_int8_instructions(), reason="without VNNI sums of INT8 saturate, unlike those of training"
)
def test_int8_files_answer_as_training_saw_it(
    taught: "System", whole: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """On 50 images within one step of the last grid before the answer, and on most to the bit.

    Where sums of the layers in float come to lie between two steps, their order decides.
    """
    digests = {"weights_digest": read_learnt(whole).record["run_weights"]}
    exported = Bundle(made_of(tiny_bundle, tmp_path / "exported", digests))
    quantise_learnt_bundle(exported, whole, tmp_path / "int8")
    learnt, system = read_learnt(whole), copy.deepcopy(taught).eval()
    StageFolder(whole / "quantised").load_into(system)
    for name, network in quantised_networks(system).items():
        for tensor, grid in grids_of(network).items():
            grid.step.is_known = True
            assert learnt.scales[name][tensor] == grid.scale
    images_NSS3 = parity_images(32, 50)
    with torch.no_grad():
        expected = system(torch.from_numpy(images_NSS3))
    with Cascade.load(tmp_path / "int8", "onnxruntime", precision="int8") as cascade:
        runs = [cascade.chain.run_all(image_SS3) for image_SS3 in images_NSS3]
    # A mask's last grid is seen through two gates, each at most 1, and the last weights.
    last_weight = (
        system.networks["seg_decoder"].get_parameter("network.out.weight").detach().abs().max()
    )
    for name, network_name, seen_through in (
        ("logits", "cls", 1.0),
        ("mask_logits", "seg_decoder", 2.0 * float(last_weight)),
    ):
        given = np.concatenate([run[name] for run in runs])
        errors = np.abs(given - expected[name].numpy()).reshape(50, -1).max(axis=1)
        *_, last = learnt.placement.networks[network_name].tensors
        assert errors.max() <= seen_through * learnt.scales[network_name][last], name
        assert np.count_nonzero(errors < 1e-5 * np.abs(given).max()) >= 45, name
    decisions = np.concatenate([run["logits"] for run in runs]).argmax(axis=1)
    np.testing.assert_array_equal(decisions, expected["logits"].argmax(dim=1))


@pytest.mark.parametrize("text", ["3/3", "1", "a/2", "0/1", "-1/3"])
def test_a_fold_is_given_as_one_of_several(text: str, tmp_path: Path) -> None:
    call = ["qat", "run", "--placement", "p", "--data", "d", "--out", str(tmp_path), "--fold", text]
    with pytest.raises(UsageError, match=r"expected K/N"):
        cli.cli(call, standalone_mode=False)


def test_weights_that_a_class_map_is_made_of_too_stay_as_they_are(
    make_tiny_system: "Callable[[], System]",
) -> None:
    """In the ONNX file the class map has a constant of its own, made of the same weights."""
    system = folded(explained(make_tiny_system()))
    (node,) = (node for node in system.nodes if node.name == "cls")
    nothing = NetworkPlacement("", node.inputs, node.outputs, (), {})
    given = weights_of(quantised_network(node, system, nothing))
    assert "network.encoder.stages.0.0.0.weight" in given
    assert "network.classify.fc.bias" in given
    assert not {"network.classify.fc.weight", "network.attention.delta"} & set(given)

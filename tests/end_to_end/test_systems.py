"""Every system goes the whole way by the same commands: trained, scored, exported, verified, run.

Tiny widths, two steps a stage on generated images: that anything is learnt is not asked here. What
is asked: each command takes what the one before it wrote, and each class name has on the device the
probability that it had in the evaluation, whatever order the data set has its classes in, and the
device draws what speaks for the answer.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

torch = pytest.importorskip("torch")
for package in ("lightning", "onnx", "onnxscript"):
    pytest.importorskip(package)

from typer.testing import CliRunner

from ckd.contract.bundle import Bundle
from ckd.contract.labels import ISIC2017, ISIC2019
from ckd.data.listing import hashed_split
from ckd.data.synthetic.write import dermoscopy, write_isic2017
from ckd.export import cli as export_cli
from ckd.runtime import cli as run_cli
from ckd.train import cli as train_cli
from ckd.train.evaluation.mask_threshold import TEACHER_MASK_THRESHOLD
from ckd.train.fitting.run_folder import load_run

pytestmark = [
    pytest.mark.slow,
    *(
        pytest.mark.filterwarnings(warning)
        for warning in (
            # Lightning's hints, true of these runs and meant.
            "ignore:Checkpoint directory .* exists and is not empty",
            "ignore:The number of training batches .* is smaller than the logging interval",
            r"ignore:Found \d+ module\(s\) in eval mode at the start of training",
            "ignore:Total length of `list` across ranks is zero",
            # Lightning calls what PyTorch has deprecated.
            "ignore:`isinstance.treespec, LeafSpec.` is deprecated",
        )
    ),
]


@dataclass(frozen=True)
class Case:
    """A system made tiny.

    Attributes:
        recipe: by name.
        settings: as `--set` takes them; a stage of batches of 2 takes two steps an epoch.
        deployed: names of the nodes that a device gets.
        merge: a wish of `ckd-export bundle --merge` that takes away nodes.
        data: a data set of the fixture of this name, with four training images.
        labels: its class names, in its own order.
    """

    recipe: str
    settings: tuple[str, ...]
    deployed: tuple[str, ...]
    merge: str | None = None
    data: str = "isic2017"
    labels: tuple[str, ...] = ISIC2017


def each(*stages: str) -> list[str]:
    """Settings by which each of these stages takes two steps."""
    return [
        f"stages.{stage}.{setting}" for stage in stages for setting in ("epochs=1", "batch_size=2")
    ]


CASES = {
    "clnet": Case(
        "clnet",
        (
            "system.cls_backbone=resnet18",
            "system.seg_backbone=unet",
            "system.widths=[4,6,8,10,12]",
            "image_size=64",
            *each("joint"),
        ),
        deployed=("cls_encoder", "seg_encoder", "fusion"),
        merge="clnet=cls_encoder,seg_encoder,fusion",
    ),
    "ssdkd": Case(
        "ssdkd",
        (
            "system.teacher=resnet18",
            "system.student=mnasnet0_5",
            "image_size=64",
            "split_by=image",
            *each("teacher", "teacher_head", "student"),
        ),
        deployed=("student",),
        data="isic2019",
        labels=ISIC2019,
    ),
    "distilled cascade": Case(
        "ckdnet-mobile-distilled",
        (
            "system.teacher.rootseg_width=8",
            "system.student.rootseg_width=4",
            "image_size=64",
            "precision=32-true",
            *each("teacher_rootseg", "teacher_cls", "teacher_seg", "rootseg", "cls", "seg"),
        ),
        merge="seg=seg_encoder,seg_decoder",
        deployed=("rootseg", "cls", "seg_encoder", "seg_decoder"),
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """These networks are so small that threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def isic2017(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("isic2017")
    write_isic2017(root, num_train=4, num_val=3, side_px=64)
    return root


@pytest.fixture(scope="module")
def isic2019(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its table has the classes in another order than SSD-KD."""
    root = tmp_path_factory.mktemp("isic2019")
    splits = {f"ISIC_{n:07d}": hashed_split(f"ISIC_{n:07d}", {"val", "test"}) for n in range(99)}
    ids = [[name for name, at in splits.items() if at == split] for split in ("train", "val")]
    columns = ("MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")
    rows = [",".join(("image", *columns))]
    (root / "ISIC_2019_Training_Input").mkdir()
    for number, name in enumerate((*ids[0][:4], *ids[1][:3])):
        picture = Image.fromarray(dermoscopy(number, 64).image_HWC)
        picture.save(root / "ISIC_2019_Training_Input" / f"{name}.jpg")
        rows.append(",".join((name, *("1.0" if at == number else "0.0" for at in range(9)))))
    (root / "ISIC_2019_Training_GroundTruth.csv").write_text("\n".join(rows) + "\n")
    return root


def command(cli: Any, *words: str | Path) -> str:
    """What a command line prints; whatever it raises is raised here."""
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "clnet",
        pytest.param("ssdkd", marks=pytest.mark.system),
        pytest.param("distilled cascade", marks=pytest.mark.system),  # of six stages
    ],
)
def test_a_system_goes_the_whole_way(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    case = CASES[name]
    data: Path = request.getfixturevalue(case.data)
    run = tmp_path / "run"
    settings = [word for setting in case.settings for word in ("--set", setting)]
    command(
        train_cli.cli, "fit", "--recipe", case.recipe, "--data", data, "--weights", "none",
        "--accelerator", "cpu", "--out", run, *settings,
    )  # fmt: skip
    recipe, system = load_run(run)
    assert system.labels == case.labels
    for stage in recipe.stages:
        saved = torch.load(run / stage.name / "last.ckpt", weights_only=False)
        assert saved["global_step"] == 2, stage.name
        assert tuple(saved["labels"]) == case.labels
    words = ("evaluate", run, "--data", data, "--accelerator", "cpu", "--json")
    scores = json.loads(command(train_cli.cli, *words))
    assert tuple(scores["classification"]["per_label"]) == case.labels
    assert (run / "evaluate" / "explanations.png").exists()
    chosen = run / TEACHER_MASK_THRESHOLD
    assert chosen.exists() == (name == "distilled cascade")  # of all teachers, it alone has masks
    if chosen.exists():
        scores = json.loads(command(train_cli.cli, *words, "--teacher"))
        assert scores["mask_threshold"] == json.loads(chosen.read_text())["mask_threshold"]
    with (run / "evaluate" / "per_image.csv").open() as file:
        evaluated = next(csv.DictReader(file))
    expected = {label: float(evaluated[label]) for label in case.labels}
    assert len({round(value, 3) for value in expected.values()}) > 1  # or names could be swapped

    for wish in dict.fromkeys((None, case.merge)):
        bundle = tmp_path / f"bundle-{wish}"
        merge = [] if wish is None else ["--merge", wish]
        command(export_cli.cli, "bundle", run, "--out", bundle, "--explain", *merge)
        command(export_cli.cli, "verify", bundle)
        spec = Bundle(bundle).spec
        assert spec.labels == case.labels
        assert spec.provenance["split_by"] == recipe.split_by
        assert recipe.system.about in (bundle / "model_card.md").read_text()
        if wish is None:
            assert tuple(node.name for node in spec.nodes) == case.deployed
        else:
            assert wish.partition("=")[0] in {node.name for node in spec.nodes}
            assert len(spec.nodes) < len(case.deployed)

        out = tmp_path / f"image-{wish}"
        image = next(data.rglob(f"{evaluated['id']}.jpg"))
        device = ("--backend", "onnxruntime", "--out", out, "--json")
        finding = json.loads(command(run_cli.cli, "image", image, "--bundle", bundle, *device))
        assert tuple(finding["probabilities"]) == case.labels
        with Image.open(out / finding["explanation"]) as drawn:
            assert drawn.size == (64, 64)
        with (out / "predictions.csv").open() as file:
            assert tuple(next(csv.reader(file))) == ("image", *case.labels)
        assert finding["probabilities"] == pytest.approx(expected, abs=1e-4)

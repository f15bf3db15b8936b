import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from ckd.calibration import cli, cost_card, trials
from ckd.calibration.budget import search
from ckd.calibration.cost import Budget
from ckd.calibration.int8_bundle import QuantSetting
from ckd.calibration.trials import Trial
from ckd.contract.bundle import Bundle
from ckd.contract.errors import GateFailed, InputError
from ckd.contract.hashes import write_hashes
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.data.synthetic.write import write_isic2017
from ckd.runtime import Cascade

MINMAX = QuantSetting(method="minmax")
ANYTHING = Budget(jaccard=1, auc=1, flips=1, melanoma_flips=99)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_isic2017(folder, num_train=0, num_val=12, side_px=48, seed=1)
    return folder


@pytest.fixture(scope="module")
def samples(data: Path) -> SampleSet:
    return read_split(data, "val")


@pytest.fixture(scope="module")
def fast_int8() -> Iterator[None]:
    """INT8 takes half the time but for the classifier: nothing here may hang on a real clock."""

    def node_ms(cascades: list[Cascade]) -> list[dict[str, float]]:
        assert [cascade.precision for cascade in cascades] == ["fp32", "int8"]
        exact = dict.fromkeys(cascades[0].chain.engines, 2.0)
        return [exact, {name: 2.0 if name == "cls" else 1.0 for name in exact}]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trials, "node_ms", node_ms)
        patch.setattr(cost_card, "installed", lambda: ("onnxruntime",))
        yield


@dataclass(frozen=True)
class Searched:
    """What came of a search within a budget that allows anything."""

    out: Path
    accepted: Trial
    tried: list[Trial]


@pytest.fixture(scope="module")
def searched(
    fast_int8: None,
    tiny_bundle: Path,
    lesions: Path,
    samples: SampleSet,
    tmp_path_factory: pytest.TempPathFactory,
) -> Searched:
    out = tmp_path_factory.mktemp("searched") / "out"
    return Searched(out, *_search(tiny_bundle, lesions, samples, out, ANYTHING))


def _search(
    tiny_bundle: Path, lesions: Path, samples: SampleSet, out: Path, budget: Budget
) -> tuple[Trial, list[Trial]]:
    images = {path.name: path for path in sorted(lesions.iterdir())[:10]}
    tried: list[Trial] = []
    accepted = search(
        Bundle(tiny_bundle), images, samples, out, budget=budget, setting=MINMAX, tell=tried.append
    )
    return accepted, tried


def test_what_is_not_faster_stays_in_float(searched: Searched) -> None:
    accepted, tried = searched.accepted, searched.tried
    assert accepted.int8 == ("rootseg", "seg_encoder", "seg_decoder")
    assert accepted.speed_up == 2.0
    refused = next(trial for trial in tried if trial.int8 == ("cls",))
    assert refused.misses == ("only 1.00 times as fast as float32 here",)
    made = Bundle(searched.out)
    made.verify()
    files = {node.name: node.files["int8.cpu"] for node in made.spec.nodes}
    assert files["cls"] == "cls.fp32.onnx"
    assert files["rootseg"] == "rootseg.int8.cpu.onnx"
    record = json.loads(made.read("calibration.json"))
    assert (
        record["accepted"]["costs"]["onnxruntime"]["flips"] == accepted.costs["onnxruntime"].flips
    )
    assert record["measured_on"].startswith("12 images of ")
    assert [trial["int8"] for trial in record["tried"]] == [list(trial.int8) for trial in tried]
    card = made.read("model_card.md").decode()
    assert "## What INT8 costs" in card
    assert "In INT8: rootseg, seg_encoder, seg_decoder." in card


@pytest.mark.usefixtures("fast_int8")
def test_sensitive_parts_go_back_to_float_before_a_network_does(
    tiny_bundle: Path, lesions: Path, samples: SampleSet, tmp_path: Path
) -> None:
    images = {path.name: path for path in sorted(lesions.iterdir())[:10]}
    tried: list[Trial] = []
    with pytest.raises(GateFailed, match="nothing in INT8 is both"):
        search(
            Bundle(tiny_bundle), images, samples, tmp_path / "out",
            budget=Budget(jaccard=-1), setting=MINMAX, tell=tried.append,
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []
    decoder = [trial.keep_float for trial in tried if trial.int8 == ("seg_decoder",)]
    assert decoder[0] == ()
    assert [len(parts) for parts in decoder] == [0, 1, 2, 4]
    assert all(part.startswith("seg_decoder/") for parts in decoder for part in parts)


def test_judges_without_masks_or_a_class_are_refused(
    tiny_bundle: Path, samples: SampleSet, tmp_path: Path
) -> None:
    def judge(kept: SampleSet) -> None:
        search(Bundle(tiny_bundle), {}, kept, tmp_path / "out", budget=ANYTHING, setting=MINMAX)

    with pytest.raises(InputError, match="no val image is labelled MEL"):
        judge(samples.only(lambda sample: sample.label != samples.labels.index("MEL")))
    bare = tuple(replace(sample, mask=None) for sample in samples.samples)
    with pytest.raises(InputError, match="no masks"):
        judge(replace(samples, samples=bare))
    with pytest.raises(InputError, match="images of SCC, but the system only knows"):
        judge(replace(samples, labels=("SCC", *samples.labels[1:])))


def test_classes_of_another_order_are_judged_as_what_they_are(
    tiny_bundle: Path, lesions: Path, samples: SampleSet, tmp_path: Path, searched: Searched
) -> None:
    order = ("NEV", "MEL", "SBK")
    turned = tuple(
        replace(s, label=None if s.label is None else order.index(samples.labels[s.label]))
        for s in samples.samples
    )
    other, _ = _search(
        tiny_bundle, lesions, replace(samples, labels=order, samples=turned), tmp_path / "two",
        ANYTHING,
    )  # fmt: skip
    assert other.costs == searched.accepted.costs


def test_images_to_judge_by_are_not_calibrated_on(
    tiny_bundle: Path, samples: SampleSet, tmp_path: Path
) -> None:
    import hashlib

    stolen = tmp_path / "renamed.jpg"
    shutil.copy(samples.samples[0].image, stolen)
    images = {hashlib.sha256(stolen.read_bytes()).hexdigest(): stolen}
    with pytest.raises(InputError, match=r"renamed\.jpg is ISIC_\d+\.jpg of the images to judge"):
        search(
            Bundle(tiny_bundle), images, samples, tmp_path / "out", budget=ANYTHING, setting=MINMAX
        )


@pytest.mark.usefixtures("fast_int8")
def test_command(
    tiny_bundle: Path, lesions: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["budget", str(lesions), "--data", str(data), "--bundle", str(tiny_bundle)]
    loose = ["--jaccard=1", "--auc=1", "--flips=1", "--melanoma-flips=99", "--method=minmax"]
    cli.cli([*call, *loose, "--out", str(tmp_path / "out")], standalone_mode=False)
    captured = capsys.readouterr()
    assert "INT8 in rootseg, seg_encoder, seg_decoder, 2.00 times" in captured.out
    assert "cls: 1.00x as fast, only 1.00 times" in captured.err
    assert "labels changed" in captured.err  # what each choice costs


def test_a_bundle_without_a_card_gets_none(
    tiny_bundle: Path, lesions: Path, samples: SampleSet, tmp_path: Path, fast_int8: None
) -> None:
    bare = shutil.copytree(tiny_bundle, tmp_path / "bare")
    (bare / "model_card.md").unlink()
    write_hashes(bare)
    _search(bare, lesions, samples, tmp_path / "out", ANYTHING)
    assert "model_card.md" not in Bundle(tmp_path / "out").files

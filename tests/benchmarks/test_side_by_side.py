"""Bundles scored and set side by side, as a device would run them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ckd.benchmarks.accuracy import accuracy, accuracy_table
from ckd.benchmarks.cli import cli
from ckd.benchmarks.side_by_side import side_by_side
from ckd.benchmarks.side_by_side_report import to_json, to_markdown
from ckd.benchmarks.size import size_of
from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.errors import BundleError, InputError, UsageError
from ckd.contract.hashes import write_hashes
from ckd.data.layouts import read_split, read_unseen
from ckd.data.synthetic.write import write_isic2017
from ckd.runtime.cascade import Cascade
from ckd.scores.images import score_finding
from ckd.scores.metrics import classification_scores, segmentation_scores
from ckd.train.folds import count_macs, folded
from ckd.train.systems.graph import System


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_isic2017(folder, num_train=0, num_val=24, side_px=48, seed=2)
    return folder


@pytest.fixture(scope="module")
def other(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle with its labels in another order, under another name."""
    folder = tmp_path_factory.mktemp("other") / "other"
    shutil.copytree(tiny_bundle, folder)
    tree = json.loads((folder / CASCADE).read_text())
    tree["name"], tree["labels"] = "other", tree["labels"][::-1]
    (folder / CASCADE).write_text(json.dumps(tree))
    write_hashes(folder)
    return folder


def test_a_bundle_is_scored_by_what_its_chain_answers(tiny_bundle: Path, data: Path) -> None:
    samples = read_split(data, "val")
    told: list[tuple[int, int]] = []
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        scored = accuracy(cascade, samples, lambda *step: told.append(step))
        scores = [score_finding(cascade.predict(s.image), s) for s in samples.samples]
    assert told[-1] == (24, 24)
    masks = segmentation_scores([s.fine for s in scores if s.fine is not None])
    labels = classification_scores(
        np.array([s.probabilities for s in scores]),
        np.array([s.label for s in scores]),
        samples.labels,
        ("MEL", "SBK"),
    )
    assert scored.scores.fine == masks
    assert scored.scores.classification == labels
    record = scored.as_dict()
    assert (record["system"], record["backend"], record["precision"]) == (
        "ckdnet", "onnxruntime", "fp32",
    )  # fmt: skip
    low, high = scored.scores.intervals["labels"]["mean_auc"]
    _, (row,) = accuracy_table([scored])
    assert f"{labels.mean_auc:.3f} ({low:.3f} to {high:.3f})" in row


def test_bundles_with_other_orders_of_labels_are_scored_by_name(
    tiny_bundle: Path, other: Path, data: Path
) -> None:
    done = CliRunner().invoke(
        cli, ["accuracy", str(tiny_bundle), str(other), "--data", str(data), "--json"]
    )
    assert done.exit_code == 0, done.output
    first, second = json.loads(done.stdout)
    # The same logits under other names: what was MEL's column is NEV's now.
    assert first["segmentation"] == second["segmentation"]
    assert (
        second["classification"]["per_label"]["SBK"] == first["classification"]["per_label"]["SBK"]
    )
    assert (
        second["classification"]["per_label"]["MEL"] != first["classification"]["per_label"]["MEL"]
    )


def test_a_bundle_is_compared_with_itself_in_another_precision(
    explained_bundle: Path, data: Path, tmp_path: Path
) -> None:
    words = ["accuracy", str(explained_bundle), "--data", str(data), "--changes", str(tmp_path)]
    precisions = ["--precision", "fp32", "--precision", "fp16"]
    done = CliRunner().invoke(cli, [*words, *precisions, "--json"])
    assert done.exit_code == 0, done.output
    assert [one["precision"] for one in json.loads(done.stdout)] == ["fp32", "fp16"]
    told = (tmp_path / "changes.md").read_text()
    assert told.startswith("## What changed from tiny in fp32 to tiny in fp16\n")
    for few in ([], [*precisions, "--precision", "fp32"]):
        refused = CliRunner().invoke(cli, [*words, *few])
        assert isinstance(refused.exception, UsageError)


@pytest.fixture(scope="module")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs of every lesion, no split, and a file that is no photograph."""
    root = tmp_path_factory.mktemp("lesions")
    (root / "images").mkdir()
    rows = ["image,label,group"]
    for number in range(60):
        Image.new("RGB", (32, 32), (number, 90, 60)).save(root / "images" / f"{number}.png")
        rows.append(f"{number},{('MEL', 'SBK', 'NEV')[number % 3]},L{number // 2}")
    (root / "labels.csv").write_text("\n".join(rows))
    (root / "images" / "0_superpixels.png").touch()
    return root


@pytest.mark.parametrize("words", [("accuracy",), ("compare", "--runs", "1", "--warmup", "0")])
def test_a_bundle_is_scored_on_images_that_its_training_had_not(
    words: tuple[str, ...], tiny_bundle: Path, lesions: Path, data: Path, tmp_path: Path
) -> None:
    """Cut by image or by lesion, as its training cut the data set: the validation images differ."""
    by_image = Path(shutil.copytree(tiny_bundle, tmp_path / "by_image"))
    tree = json.loads((by_image / CASCADE).read_text())
    tree["name"], tree["provenance"]["split_by"] = "by_image", "image"
    (by_image / CASCADE).write_text(json.dumps(tree))
    write_hashes(by_image)

    def scored(*bundles: Path) -> Any:
        given = [str(word) for path in bundles for word in ("--bundle", path)]
        if words == ("accuracy",):
            given = given[1::2]
        done = CliRunner().invoke(cli, [*words, *given, "--data", str(lesions), "--json"])
        if done.exception is not None:
            raise done.exception
        assert f"{lesions}/images: 1 file left out: 1 superpixel map\n" in done.stderr
        tree = json.loads(done.stdout)
        return [side["accuracy"] for side in tree["sides"]] if "compare" in words else tree

    for bundle, split_by in ((tiny_bundle, "lesion"), (by_image, "image")):
        expected = read_split(lesions, "val", "image" if split_by == "image" else "lesion")
        (record,) = scored(bundle)
        assert (record["dataset"], record["num_images"]) == (expected.name, len(expected))
    with pytest.raises(UsageError, match="score them one by one"):
        scored(tiny_bundle, by_image)
    # Where the data set has the split itself, none was trained on it.
    samples = read_unseen(data, "val", [Bundle(b).spec for b in (tiny_bundle, by_image)])
    assert samples == read_split(data, "val")


def test_what_the_images_do_not_define_is_called_undefined(tiny_bundle: Path, data: Path) -> None:
    samples = read_split(data, "val")
    no_melanoma = samples.only(lambda s: s.label != samples.labels.index("MEL"))
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        _, (row,) = accuracy_table([accuracy(cascade, no_melanoma)])
    assert row.count("undefined") == 1
    assert "nan" not in " ".join(row)


def test_a_wrong_bundle_is_found_before_any_is_scored(
    tiny_bundle: Path, other: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.benchmarks.accuracy.accuracy", lambda *_: pytest.fail("scored"))
    of_other_labels = tmp_path / "warts"
    shutil.copytree(other, of_other_labels)
    text = (of_other_labels / CASCADE).read_text().replace('"MEL"', '"wart"')
    (of_other_labels / CASCADE).write_text(text)
    write_hashes(of_other_labels)
    for wrong, error in ((tmp_path / "nothing", BundleError), (of_other_labels, InputError)):
        done = CliRunner().invoke(
            cli, ["accuracy", str(tiny_bundle), str(wrong), "--data", str(data)]
        )
        assert isinstance(done.exception, error)


@pytest.mark.parametrize("second", ["ckdnet-tiny", "ckdnet-tinny"])
def test_wrong_recipes_are_found_before_any_is_built(
    second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.benchmarks.subjects.untrained_run", lambda *_: pytest.fail("built"))
    done = CliRunner().invoke(cli, ["compare", "--recipe", "ckdnet-tiny", "--recipe", second])
    assert isinstance(done.exception, UsageError)
    assert second in str(done.exception)


def test_accuracy_without_data_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ckd.benchmarks.cli", "accuracy"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--data is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_sizes_are_counted_in_the_exported_files(
    tiny_bundle: Path, make_tiny_system: Callable[[], System]
) -> None:
    bundle = Bundle(tiny_bundle)
    size = size_of(bundle)
    deployed = folded(make_tiny_system())
    assert size.macs == count_macs(deployed)
    held = sum(p.numel() for p in deployed.parameters())
    # The exporter folds what batch norms are left; constants such as ImageNet's mean come on top.
    assert size.parameters == pytest.approx(held, rel=0.02)
    assert size.fp32_bytes == sum((tiny_bundle / f).stat().st_size for f in bundle.files
                                   if f.endswith("fp32.onnx"))  # fmt: skip


def test_bundles_stand_side_by_side(
    tiny_bundle: Path, other: Path, data: Path, tmp_path: Path
) -> None:
    done = CliRunner().invoke(
        cli,
        ["compare", "--bundle", str(tiny_bundle), "--bundle", str(other), "--data", str(data),
         "--runs", "2", "--warmup", "0", "--threads", "1", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    tree = json.loads((tmp_path / "out" / "systems.json").read_text())
    names = [side["bundle"].partition("@")[0] for side in tree["sides"]]
    assert names == ["tiny", "other"]
    for side in tree["sides"]:
        assert side["frame"]["onnxruntime FP32"]["runs"] == 2
        assert side["size"] == tree["sides"][0]["size"]
        assert side["accuracy"]["num_images"] == 24
    assert tree["sides"][0]["times_first"]["onnxruntime FP32"]["median"] == 1.0
    table = (tmp_path / "out" / "systems.md").read_text()
    assert done.stdout == table
    assert "| tiny (32 px) | 4 |" in table


def test_without_data_there_are_sizes_and_times_alone(tiny_bundle: Path) -> None:
    report = side_by_side([tiny_bundle], threads=1, warmup=0, runs=1, command="")
    assert report.sides[0].accuracy is None
    assert "Jaccard" not in to_markdown(report)
    assert json.loads(to_json(report))["sides"][0]["accuracy"] is None


def test_bundles_of_one_name_cannot_be_told_apart(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="two bundles have one name"):
        side_by_side([tiny_bundle, tiny_bundle], threads=1, warmup=0, runs=1, command="")


def test_a_run_is_compared_with_one_bundle_only(tiny_bundle: Path) -> None:
    several = ["--bundle", str(tiny_bundle), "--bundle", str(tiny_bundle)]
    done = CliRunner().invoke(cli, ["compare", "--run", "somewhere", *several])
    assert isinstance(done.exception, UsageError)
    assert "give one --bundle" in str(done.exception)


@pytest.mark.slow
def test_recipes_stand_beside_bundles_untrained(tiny_bundle: Path, data: Path) -> None:
    done = CliRunner().invoke(
        cli,
        ["compare", "--bundle", str(tiny_bundle), "--recipe", "ssdkd-alone", "--data", str(data),
         "--runs", "1", "--warmup", "0", "--threads", "1", "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    trained, untrained = json.loads(done.stdout)["sides"]
    assert (trained["trained"], untrained["trained"]) == (True, False)
    assert untrained["bundle"].startswith("ssdkd-alone@")
    assert untrained["accuracy"] is None
    assert trained["accuracy"]["num_images"] == 24


def test_in_a_pipe_no_score_is_cut(tiny_bundle: Path, data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ckd.benchmarks.cli", "accuracy", tiny_bundle, "--data", data],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "10"},
    )  # fmt: skip
    title, _, head, row = done.stdout.splitlines()
    assert title.endswith("val, 24 images, single view")
    cells = [cell for cell in row.split("  ") if cell]
    assert head.split("  ")[0] == "bundle"
    assert [cell.strip() for cell in cells[:3]] == ["tiny", "ckdnet", "onnxruntime FP32"]
    assert row.count("(") == row.count(" to ") == row.count(")") == head.count("AUC") + 2

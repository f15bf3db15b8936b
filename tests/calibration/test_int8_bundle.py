import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exact import int8_cases
from PIL import Image

if TYPE_CHECKING:
    from onnx import ModelProto

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnxruntime.quantization.calibrate import TensorsData

from ckd.calibration import cli, quantize
from ckd.calibration.activations import Feeds, Method, measure_activations
from ckd.calibration.images import CalibrationImages, calibration_images
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.calibration.upstream import Upstream
from ckd.contract.bundle import Bundle
from ckd.contract.errors import InputError, UsageError
from ckd.contract.hashes import write_hashes
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime import Cascade, Chain
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cases import TOLERANCES, pack_cases

MINMAX = QuantSetting(method="minmax")


def _keeping(*float_parts: str) -> QuantSetting:
    return QuantSetting(method="minmax", keep_float=float_parts)


@pytest.fixture(scope="module")
def usable(lesions: Path, tiny_bundle: Path) -> CalibrationImages:
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        return calibration_images(lesions, cascade, limit=200)


@pytest.fixture(scope="module")
def quantised(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("int8") / "bundle"
    quantise_bundle(Bundle(tiny_bundle), usable.paths, out, setting=MINMAX)
    return out


def test_int8_answers_are_near_those_of_float32(
    quantised: Path, tiny_bundle: Path, lesions: Path
) -> None:
    Bundle(quantised).verify()
    assert "- Precisions: fp32, int8.cpu\n" in (quantised / "model_card.md").read_text()
    image = network_image(read_rgb(lesions / "000.png"), 32)
    with (
        Cascade.load(tiny_bundle, "onnxruntime") as exact,
        Cascade.load(quantised, "onnxruntime", precision="int8") as coarse,
    ):
        expected, given = exact.chain.run_all(image), coarse.chain.run_all(image)
    assert coarse.precision == "int8"
    for name in ("coarse_logits", "mask_logits", "logits"):
        error = np.abs(given[name] - expected[name])
        assert error.max() > 0, f"{name} is not computed in INT8"
        assert error.mean() < 0.2 * np.abs(expected[name]).mean() + 0.05, name


def test_backends_agree_on_an_int8_bundle(quantised: Path, lesions: Path) -> None:
    pytest.importorskip("openvino")
    image = network_image(read_rgb(lesions / "001.png"), 32)
    given = []
    for backend in ("onnxruntime", "openvino"):  # which need not pass for each other here
        with Chain.of(Bundle(quantised), open_backend(backend, "cpu", 1), "int8") as chain:
            given.append(chain.run_all(image))
    # Not the fine mask: a decoder of random weights makes one step of a grid a step of the answer.
    for name in ("coarse_logits", "gate1", "logits", "g0", "h1"):
        np.testing.assert_allclose(given[0][name], given[1][name], atol=0.3 * given[0][name].std())


@pytest.mark.parametrize("precision", ["int8", "int8-bf16"])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_openvino_kept_answers_to_the_bit_as_what_it_compiled(
    quantised: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    precision: str,
) -> None:
    ov = pytest.importorskip("openvino")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    bundle = Path(shutil.copytree(quantised, tmp_path / "bundle"))
    limits = json.loads((bundle / TOLERANCES).read_text())
    # Random weights amplify rounding to bfloat16, where a processor has it.
    limits["int8"] = {"mask_jaccard": 0, "probability": 1, "class_map": 99, "features": 99}
    (bundle / TOLERANCES).write_text(json.dumps(limits))
    write_hashes(bundle)
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)

    def answers() -> dict[str, bytes]:
        with Cascade.load(bundle, "openvino", "cpu", precision, threads) as cascade:
            tensors = cascade.chain.run_all(image)
        return {name: tensor.tobytes() for name, tensor in tensors.items()}

    fresh = answers()
    monkeypatch.setattr(ov.Core, "compile_model", lambda *_: pytest.fail("compiled again"))
    assert answers() == fresh


def test_every_network_is_calibrated_on_what_the_ones_before_make_of_the_images(
    usable: CalibrationImages,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[str, np.ndarray] = {}

    def spy(model: "ModelProto", feeds, method):  # type: ignore[no-untyped-def]
        listed = list(feeds)
        for name, values in listed[0].items():
            seen.setdefault(name, values)
        return measure_activations(model, listed, method)

    monkeypatch.setattr(quantize, "measure_activations", spy)
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "bundle"
    quantise_bundle(Bundle(tiny_bundle), usable.paths, out, setting=MINMAX)
    image = network_image(read_rgb(next(iter(usable.paths.values()))), 32)
    with (
        Cascade.load(out, "onnxruntime", precision="int8") as coarse,
        Cascade.load(tiny_bundle, "onnxruntime") as exact,
    ):
        given, expected = coarse.chain.run_all(image), exact.chain.run_all(image)
    for name in ("gate1", "mean4", "h2"):
        np.testing.assert_array_equal(seen[name], given[name])
        assert (given[name] != expected[name]).any()


def test_known_ranges_are_not_measured_again(
    usable: CalibrationImages,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = Bundle(tiny_bundle)
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    quantise_bundle(source, usable.paths, tmp_path / "one", setting=MINMAX)

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(quantize, "measure_activations", refuse)
    quantise_bundle(source, usable.paths, tmp_path / "two", setting=MINMAX)
    assert Bundle(tmp_path / "one").files == Bundle(tmp_path / "two").files
    fewer = dict(list(usable.paths.items())[:50])
    with pytest.raises(AssertionError, match="measured again"):
        quantise_bundle(source, fewer, tmp_path / "three", setting=MINMAX)


def test_a_network_can_be_left_in_float(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    quantise_bundle(Bundle(tiny_bundle), usable.paths, out, setting=_keeping("cls", "rootseg"))
    made = Bundle(out)
    files = {node.name: node.files["int8.cpu"] for node in made.spec.nodes}
    assert files["cls"] == "cls.fp32.onnx"
    assert files["seg_encoder"] == "seg_encoder.int8.cpu.onnx"
    assert "cls.int8.cpu.onnx" not in made.files
    record = json.loads(made.read("calibration.json"))
    assert record["keep_float"] == ["cls", "rootseg"]
    assert record["images"] == list(usable.paths)
    # And it can be quantised anew: what INT8 files it had are replaced.
    again = tmp_path / "again"
    quantise_bundle(made, usable.paths, again, setting=_keeping("seg_encoder"))
    assert "seg_encoder.int8.cpu.onnx" not in Bundle(again).files
    Bundle(again).verify()


def test_engines_must_repeat_the_int8_answers(quantised: Path, tmp_path: Path) -> None:
    assert all(case.passed for case in int8_cases(quantised))
    # The files of another network under the same names.
    foreign = tmp_path / "foreign"
    shutil.copytree(quantised, foreign)
    model = onnx.load(foreign / "cls.int8.cpu.onnx")
    for constant in model.graph.initializer:
        if constant.name == "network.classify.fc.bias":
            values = onnx.numpy_helper.to_array(constant) + np.array([4, 0, 0], np.float32)
            constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
    onnx.save(model, foreign / "cls.int8.cpu.onnx")
    write_hashes(foreign)
    assert not all(case.passed for case in int8_cases(foreign))


def test_part_of_a_network_can_be_left_in_float(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    kept = "seg_decoder/blocks.0"
    quantise_bundle(Bundle(tiny_bundle), usable.paths, out, setting=_keeping(kept))
    model = onnx.load(out / "seg_decoder.int8.cpu.onnx")
    weights = {i.name for i in model.graph.initializer}
    assert "network.blocks.0.first.0.weight" in weights
    assert "network.blocks.1.first.0.weight_quantized" in weights


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_a_tensor_that_is_not_finite_is_named(
    tiny_bundle: Path, tmp_path: Path, method: Method, bad: float
) -> None:
    model = onnx.load(tiny_bundle / "seg_decoder.fp32.onnx")
    shapes = Bundle(tiny_bundle).spec.shapes
    inputs = [i.name for i in model.graph.input]
    rng = np.random.default_rng(0)
    feeds = [
        {name: rng.normal(size=shapes[name]).astype(np.float32) for name in inputs}
        for _ in range(12)
    ]
    feeds[10]["h1"][0, 0, 0, 0] = bad  # in the second batch
    with pytest.raises(InputError, match=r"tensor \S+ is not finite on an image"):
        quantize.quantise(model, [], lambda: feeds, method=method, data_digest="", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_ranges_are_measured_anew(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "cache"))
    source = Bundle(tiny_bundle)
    quantise_bundle(source, usable.paths, tmp_path / "one", setting=MINMAX)
    ranges = sorted((tmp_path / "cache" / "ranges").iterdir())
    whole = [path.read_text() for path in ranges]
    assert len(whole) > 2
    record = json.loads(whole[1])
    tree = json.loads(record["value"])
    next(iter(tree["data"].values()))["highest"]["data"] = 99.0  # readable, and wrong
    changed = json.dumps(record | {"value": json.dumps(tree)})
    for path, text in zip(ranges, ["{}", changed, *whole[:1] * len(whole)], strict=False):
        path.write_text(text)  # the others are another network's
    quantise_bundle(source, usable.paths, tmp_path / "two", setting=MINMAX)
    assert Bundle(tmp_path / "one").files == Bundle(tmp_path / "two").files
    assert [path.read_text() for path in ranges] == whole


def test_nothing_to_quantise_is_refused(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path
) -> None:
    source = Bundle(tiny_bundle)
    every = QuantSetting(keep_float=tuple(node.name for node in source.spec.nodes))
    with pytest.raises(UsageError, match="nothing to quantise"):
        quantise_bundle(source, usable.paths, tmp_path / "out", setting=every)
    assert not (tmp_path / "out").exists()


def test_of_two_at_once_the_second_says_so(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def meanwhile(*given: object) -> object:
        (out / "of-another").mkdir(parents=True)
        return pack_cases(*given)  # type: ignore[arg-type]

    monkeypatch.setattr("ckd.calibration.int8_bundle.pack_cases", meanwhile)
    with pytest.raises(UsageError, match="made by another process meanwhile"):
        quantise_bundle(Bundle(tiny_bundle), usable.paths, out, setting=MINMAX)
    assert [path.name for path in out.iterdir()] == ["of-another"]


def test_a_cache_that_cannot_be_written_is_done_without(
    usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CKD_CACHE", str(tmp_path / "file"))
    quantise_bundle(Bundle(tiny_bundle), usable.paths, tmp_path / "out", setting=MINMAX)
    Bundle(tmp_path / "out").verify()


def test_other_images_networks_or_methods_have_other_ranges(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(tiny_bundle / "seg_encoder.fp32.onnx")
    feed = {"image": np.full((1, 32, 32, 3), 9, np.uint8)}
    measured: list[str] = []

    def measure(model: "ModelProto", feeds: Iterable[Feeds], method: Method) -> TensorsData:
        measured.append(method)
        return measure_activations(model, feeds, method)

    monkeypatch.setattr(quantize, "measure_activations", measure)

    def quantise(method: Method, digest: str) -> None:
        quantize.quantise(
            model, [], lambda: [feed], method=method, data_digest=digest, cache=tmp_path
        )

    calls: list[tuple[Method, str, int]] = [
        ("minmax", "a", 1),
        ("minmax", "a", 1),
        ("minmax", "b", 2),
        ("percentile", "a", 3),
    ]
    for method, digest, count in calls:
        quantise(method, digest)
        assert len(measured) == count
    with Upstream(Bundle(tiny_bundle).spec, {}) as upstream:
        before = upstream.digest
        node = Bundle(tiny_bundle).spec.nodes[0]
        upstream.append(node, Bundle(tiny_bundle).read(node.files["fp32"]))
        assert upstream.digest != before


def test_images_that_cannot_serve_are_left_out_and_named(
    lesions: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    shutil.copytree(lesions, folder)
    shutil.copy(folder / "000.png", folder / "copy.png")
    (folder / "cut.png").write_bytes((folder / "000.png").read_bytes()[:200])
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        chosen = calibration_images(folder, cascade, limit=200)
        why = {path.name: reason for path, reason in chosen.unusable.items()}
        assert "same content as 000.png" in why["copy.png"]
        assert "cut.png" in why["cut.png"]
        assert len(chosen.paths) == 60
        with pytest.raises(InputError, match="40 usable images, expected at least 50"):
            calibration_images(lesions, cascade, limit=40)
        for seed in range(40):
            (folder / f"bad{seed}.png").write_bytes(b"no image")
        with pytest.raises(InputError, match=r"42 of 102 images cannot be calibrated on"):
            calibration_images(folder, cascade, limit=200)


def test_images_without_a_lesion_are_left_out(
    lesions: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        kept, seen = cascade.predict, []

        def blind(image_HWC: np.ndarray):  # type: ignore[no-untyped-def]
            finding = kept(image_HWC)
            seen.append(finding)
            if len(seen) <= 5:
                assert finding.mask_HW is not None
                finding.mask_HW[:] = False
            return finding

        monkeypatch.setattr(cascade, "predict", blind)
        chosen = calibration_images(lesions, cascade, limit=200)
    assert set(chosen.unusable.values()) == {"no lesion is outlined in it"}
    assert len(chosen.unusable) == 5


def test_even_images_are_left_out(lesions: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(lesions, tmp_path / "images")
    for level in range(3):
        Image.new("RGB", (64, 64), (level, 9, 9)).save(folder / f"even{level}.png")
    with Cascade.load(tiny_bundle, "onnxruntime") as cascade:
        chosen = calibration_images(folder, cascade, limit=200)
    assert {path.name: why for path, why in chosen.unusable.items()} == {
        f"even{level}.png": "it is one even colour" for level in range(3)
    }


def test_wrong_use_is_refused(usable: CalibrationImages, tiny_bundle: Path, tmp_path: Path) -> None:
    source = Bundle(tiny_bundle)
    with pytest.raises(UsageError, match="exists"):
        quantise_bundle(source, usable.paths, tmp_path, setting=MINMAX)
    with pytest.raises(UsageError, match="no network 'clss'"):
        quantise_bundle(source, usable.paths, tmp_path / "out", setting=_keeping("clss"))
    with pytest.raises(UsageError, match="cls has no part 'stem'; it has "):
        quantise_bundle(source, usable.paths, tmp_path / "out", setting=_keeping("cls/stem"))
    assert not (tmp_path / "out").exists()


def test_command(
    lesions: Path, tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    call = ["quantize", str(lesions), "--bundle", str(tiny_bundle), "--out", str(out)]
    cli.cli([*call, "--float", "cls", "--method", "minmax"], standalone_mode=False)
    table = capsys.readouterr().out
    assert "calibrated on 60 images" in table
    assert "cls" in table
    assert "in float" in table
    assert Bundle(out).spec.file_kinds() == ("fp32", "int8.cpu")
    with pytest.raises(UsageError, match="exists"):  # before anything is measured
        cli.cli([*call, "--method", "minmax"], standalone_mode=False)

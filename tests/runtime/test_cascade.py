"""The chain of networks: shared buffers, right answers, and clean ends of every kind.

Suffixes: H rows, W columns, C channels in RGB order, S network side in pixels.
"""

import json
import shutil
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from ckd.contract.bundle import Bundle, Content
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.errors import (
    BundleError,
    CkdError,
    EngineError,
    EnvironmentUnusable,
    GateFailed,
    InputError,
    UsageError,
)
from ckd.contract.hashes import write_hashes
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.finding import Finding
from ckd.finding.logits import mask_from_logits, softmax
from ckd.picture.resize import network_image
from ckd.runtime import Cascade
from ckd.runtime import cascade as cascade_module
from ckd.runtime.backends.host import HostRunner
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend, OnnxRuntimeBuffer
from ckd.runtime.cascade import embedded_bundle
from ckd.runtime.chain import Chain
from ckd.runtime.engine import Backend, DeviceBuffer, Engine

SIDE = 32
NODES = ["rootseg", "cls", "seg_encoder", "seg_decoder"]


@pytest.fixture(autouse=True)
def only_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with `.[cpu]`; the other backends have tests of their own."""
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        yield cascade


def photo(seed: int, height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """Smooth colours with a dark spot; another for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 255, (6, 9, 3), np.uint8)
    image_HWC = np.asarray(
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    )
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    spot_HW = (y - rng.uniform(-0.3, 0.3)) ** 2 + (x - rng.uniform(-0.3, 0.3)) ** 2 < 0.2
    return np.where(spot_HW[..., None], image_HWC // 3, image_HWC).astype(np.uint8)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "cascade.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    write_hashes(folder)
    return folder


def chained(bundle: Bundle, small_SSC: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The same graph through plain ONNX Runtime, one dictionary to the next."""
    tensors: dict[str, NDArray[Any]] = {IMAGE: small_SSC[None]}
    for node in bundle.spec.nodes:
        session = onnxruntime.InferenceSession(
            bundle.read(node.files["fp32"]), providers=["CPUExecutionProvider"]
        )
        made = session.run(list(node.outputs), {name: tensors[name] for name in node.inputs})
        tensors.update(zip(node.outputs, made, strict=True))
    return tensors


def assert_equal(one: Finding, two: Finding) -> None:
    """Apart from how long it took."""
    assert (one.probabilities, one.quality) == (two.probabilities, two.quality)
    np.testing.assert_array_equal(one.mask_HW, two.mask_HW)
    np.testing.assert_array_equal(one.coarse_mask_HW, two.coarse_mask_HW)


# Answers


def test_every_tensor_equals_plain_chaining(cascade: Cascade, tiny_bundle: Path) -> None:
    bundle = Bundle(tiny_bundle)
    for seed in range(3):
        small_SSC = network_image(photo(seed), SIDE)
        expected = chained(bundle, small_SSC)
        given = cascade.chain.run_all(small_SSC)
        assert set(given) == set(expected) == set(bundle.spec.shapes)
        for name, tensor in expected.items():
            # The same kernels; only the number of threads may change the order of sums.
            np.testing.assert_allclose(given[name], tensor, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_finding_says_what_the_tensors_say(cascade: Cascade, tiny_bundle: Path) -> None:
    image_HWC = photo(1, 75, 130)
    tensors = cascade.chain.run_all(network_image(image_HWC, SIDE))
    finding = cascade.predict(image_HWC)
    probabilities = softmax(tensors["logits"][0]).tolist()
    assert finding.probabilities == dict(zip(("MEL", "SBK", "NEV"), probabilities, strict=True))
    assert sum(finding.probabilities.values()) == pytest.approx(1, abs=1e-6)
    fine_HW = mask_from_logits(tensors["mask_logits"][0, 0], 75, 130)
    coarse_HW = mask_from_logits(tensors["coarse_logits"][0, 0], 75, 130, aligned_to_px=SIDE)
    np.testing.assert_array_equal(finding.mask_HW, fine_HW)
    np.testing.assert_array_equal(finding.coarse_mask_HW, coarse_HW)
    assert 0 < finding.lesion_area_px < 75 * 130
    assert finding.quality["lesion_fraction"] == pytest.approx(fine_HW.mean(), abs=0.05)
    # Counted on every second pixel.
    agreement = confusion_from_masks(fine_HW, coarse_HW).jaccard
    assert finding.quality["mask_agreement"] == pytest.approx(agreement, abs=0.01)
    assert (finding.backend, finding.precision) == ("onnxruntime", "fp32")
    assert finding.bundle == f"tiny@{Bundle(tiny_bundle).digest()[:12]}"


def test_time_is_told_for_every_step_in_order(cascade: Cascade) -> None:
    taken = cascade.predict(photo(0)).timings_ms
    assert list(taken) == ["preprocess", *NODES, "postprocess", "total"]
    parts_ms = [taken[step] for step in taken if step != "total"]
    assert min(parts_ms) > 0
    assert sum(parts_ms) <= taken["total"] < sum(parts_ms) + 5


@pytest.mark.parametrize(("height", "width"), [(16, 16), (32, 32), (200, 37), (1000, 1500)])
def test_masks_have_the_size_of_the_image(cascade: Cascade, height: int, width: int) -> None:
    finding = cascade.predict(photo(2, height, width))
    assert finding.mask_HW is not None
    assert finding.coarse_mask_HW is not None
    assert finding.mask_HW.shape == finding.coarse_mask_HW.shape == (height, width)


def test_a_file_gives_what_its_pixels_give(cascade: Cascade, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo(0)).save(path)
    expected = cascade.predict(photo(0))
    assert_equal(cascade.predict(path), expected)
    assert_equal(cascade.predict(str(path)), expected)


def test_channel_order_matters_and_views_are_taken(cascade: Cascade) -> None:
    image_HWC = photo(0)
    bgr_HWC = np.ascontiguousarray(image_HWC[..., ::-1])
    assert_equal(cascade.predict(bgr_HWC[..., ::-1]), cascade.predict(image_HWC))
    assert cascade.predict(bgr_HWC).probabilities != cascade.predict(image_HWC).probabilities


def test_images_are_analysed_independently_of_each_other(cascade: Cascade) -> None:
    alone = cascade.predict(photo(0))
    for seed in range(1, 4):
        cascade.predict(photo(seed))
    assert_equal(cascade.predict(photo(0)), alone)


def test_a_finding_stays_valid_while_others_are_made(cascade: Cascade) -> None:
    first = cascade.predict(photo(0, SIDE, SIDE))
    assert first.mask_HW is not None
    before = first.mask_HW.copy()
    second = cascade.predict(photo(5, SIDE, SIDE))
    np.testing.assert_array_equal(first.mask_HW, before)
    assert second.mask_HW is not None
    assert not np.array_equal(second.mask_HW, before)


def test_the_image_given_is_not_changed(cascade: Cascade) -> None:
    image_HWC = photo(0, SIDE, SIDE)
    image_HWC.flags.writeable = False
    cascade.predict(image_HWC)
    np.testing.assert_array_equal(image_HWC, photo(0, SIDE, SIDE))


def test_every_edge_matters(cascade: Cascade) -> None:
    """Each tensor, set to zero on its way, changes an answer: no wire hangs loose."""
    small_SSC = network_image(photo(0), SIDE)
    intact = cascade.chain.run_all(small_SSC)
    last = {name: node.name for node in cascade.spec.nodes for name in node.outputs}
    for tensor in (name for node in cascade.spec.nodes for name in node.inputs):
        if tensor == IMAGE:
            continue
        cascade.chain.buffers[IMAGE].write(small_SSC[None])
        for name, engine in cascade.chain.engines.items():
            engine.enqueue()
            if name == last[tensor]:
                cascade.chain.buffers[tensor].write(np.zeros_like(intact[tensor]))
        answers = cascade.spec.outputs.names()
        changed = [a for a in answers if (cascade.chain.buffers[a].read() != intact[a]).any()]
        assert changed, tensor


@pytest.mark.parametrize(
    ("kept", "fine", "coarse", "probabilities"),
    [
        ("class_logits", False, False, True),
        ("mask_logits", True, False, False),
        ("coarse_logits", False, True, False),
    ],
)
def test_a_system_may_give_one_kind_of_answer(
    bundle_copy: Path, kept: str, fine: bool, coarse: bool, probabilities: bool
) -> None:
    def keep_one(tree: dict[str, Any]) -> None:
        others = {"class_logits", "mask_logits", "coarse_logits"} - {kept}
        tree["outputs"].update(dict.fromkeys(others))

    with Cascade.load(edit_manifest(bundle_copy, keep_one)) as cascade:
        finding = cascade.predict(photo(0))
    assert (finding.mask_HW is not None, finding.coarse_mask_HW is not None) == (fine, coarse)
    assert bool(finding.probabilities) == (finding.top is not None) == probabilities
    assert "mask_agreement" not in finding.quality


# Buffers


def address(cascade: Cascade, name: str) -> int:
    buffer = cascade.chain.buffers[name]
    assert isinstance(buffer, OnnxRuntimeBuffer)
    assert buffer.value.data_ptr() == buffer.array.ctypes.data
    return buffer.array.ctypes.data


def test_every_tensor_has_one_buffer_for_good(cascade: Cascade) -> None:
    before = {name: address(cascade, name) for name in cascade.chain.buffers}
    assert set(before) == set(cascade.spec.shapes)
    assert len(set(before.values())) == len(before)
    for seed in range(5):
        cascade.predict(photo(seed))
    assert {name: address(cascade, name) for name in cascade.chain.buffers} == before


def test_a_consumer_reads_in_place_what_its_producer_wrote(
    cascade: Cascade, tiny_bundle: Path
) -> None:
    small_SSC = network_image(photo(0), SIDE)
    expected = chained(Bundle(tiny_bundle), small_SSC)
    for buffer in cascade.chain.buffers.values():
        buffer.read()[...] = 0
    cascade.chain.buffers[IMAGE].write(small_SSC[None])
    cascade.chain.engines["rootseg"].enqueue()  # nobody copies anything from here on
    np.testing.assert_allclose(cascade.chain.buffers["gate1"].read(), expected["gate1"], rtol=1e-5)
    cascade.chain.engines["cls"].enqueue()
    np.testing.assert_allclose(
        cascade.chain.buffers["logits"].read(), expected["logits"], rtol=1e-4
    )
    cascade.chain.buffers["gate1"].read()[...] = 0  # written past the engines, into shared memory
    cascade.chain.engines["cls"].enqueue()
    changed = cascade.chain.buffers["logits"].read()
    assert np.abs(changed - expected["logits"]).max() > 1e-3


def test_200_predictions_leave_no_memory_behind(cascade: Cascade) -> None:
    image_HWC = photo(0)
    for _ in range(50):
        cascade.predict(image_HWC)
    tracemalloc.start()
    try:
        cascade.predict(image_HWC)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            cascade.predict(image_HWC)
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # one mask is 5 kB
    assert peak - before < 300_000


# Streams and threads


def test_a_stream_is_analysed_as_it_is_asked_for(cascade: Cascade) -> None:
    taken: list[int] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for seed in range(3):
            taken.append(seed)
            yield photo(seed)

    findings = cascade.stream(images())
    assert taken == []
    assert_equal(next(findings), cascade.predict(photo(0)))
    assert taken == [0]
    assert len(list(findings)) == 2
    assert taken == [0, 1, 2]


def test_two_cascades_run_in_two_threads(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle, num_threads=1) as cascade:
        expected = [cascade.predict(photo(seed)) for seed in range(4)]
    given: dict[int, list[Finding]] = {}

    def work(number: int) -> None:
        with Cascade.load(tiny_bundle, num_threads=1) as cascade:
            given[number] = [cascade.predict(photo(seed)) for seed in [*range(4)] * 20]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == [0, 1]
    for findings in given.values():
        for finding, wanted in zip(findings, expected * 20, strict=True):
            assert_equal(finding, wanted)


def test_the_number_of_threads_does_not_change_the_answer(tiny_bundle: Path) -> None:
    findings = []
    for num_threads in (1, 2, None):
        with Cascade.load(tiny_bundle, num_threads=num_threads) as cascade:
            findings.append(cascade.predict(photo(0)))
    for finding in findings[1:]:
        values = list(finding.probabilities.values())
        assert values == pytest.approx(list(findings[0].probabilities.values()), abs=1e-5)


def test_warming_up_runs_every_network_and_changes_nothing(
    cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cascade.predict(photo(0))
    runs: list[tuple[int, ...]] = []
    predict = cascade.predict

    def spy(image: NDArray[np.uint8]) -> Finding:
        runs.append(image.shape)
        return predict(image)

    monkeypatch.setattr(cascade, "predict", spy)
    cascade.warmup(3)
    assert runs == [(SIDE, SIDE, 3)] * 3
    assert_equal(predict(photo(0)), before)


# Loading


def test_a_zip_gives_what_its_folder_gives(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "tiny"), "zip", tiny_bundle)
    findings = []
    for path in (tiny_bundle, str(tiny_bundle), archive, Path(archive)):
        with Cascade.load(path) as cascade:
            findings.append(cascade.predict(photo(0)))
    for finding in findings[1:]:
        assert_equal(finding, findings[0])
        assert finding.bundle == findings[0].bundle


@pytest.mark.skipif(not embedded_bundle().is_dir(), reason="no bundle is embedded yet")
def test_without_a_name_the_embedded_bundle_is_loaded() -> None:
    with Cascade.load() as cascade:
        finding = cascade.predict(photo(0))
    assert finding.bundle.startswith("ckdnet-mobile@")
    assert finding.top in finding.probabilities


@pytest.mark.parametrize("precision", ["bf16", "fp64", ""])
def test_a_precision_that_the_backend_lacks_is_refused(tiny_bundle: Path, precision: str) -> None:
    expected = f"onnxruntime does not compute in {precision}; expected fp32, fp16, int8$"
    with pytest.raises(UsageError, match=expected):
        Cascade.load(tiny_bundle, precision=precision)
    with pytest.raises(UsageError, match=expected):
        Cascade(Bundle(tiny_bundle), OnnxRuntimeBackend(1), precision)


def test_unknown_backends_and_devices_are_refused(tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="unknown backend 'tpu'; expected auto, onnxruntime"):
        Cascade.load(tiny_bundle, backend="tpu")
    with pytest.raises(UsageError, match="unknown device 'gpu'; expected auto, cpu, cuda"):
        Cascade.load(tiny_bundle, device="gpu")


@pytest.mark.parametrize(
    ("error", "is_news"),
    [
        (EngineError("cannot load cls: the GPU fell off the bus"), True),
        (EnvironmentUnusable("the driver is too old"), False),
        (UsageError("tensorrt does not compute in bf16"), False),
    ],
)
def test_auto_takes_the_cpu_if_the_gpu_cannot(
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: CkdError,
    is_news: bool,
) -> None:
    def open_on(name: str, device: str, num_threads: int | None) -> Backend:
        if device != "cpu":
            raise error
        return OnnxRuntimeBackend(1)

    def chosen(name: str, device: str) -> str:
        return "cuda" if device == "auto" else device

    monkeypatch.setattr(cascade_module, "open_backend", open_on)
    monkeypatch.setattr(cascade_module, "chosen_device", chosen)
    monkeypatch.setattr(cascade_module, "fastest_backend", lambda *_: "onnxruntime")
    with Cascade.load(tiny_bundle) as cascade:
        assert cascade.backend.device == "cpu"
    expected = [f"{error}; taking the CPU"] if is_news else []
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == expected
    for backend, device in (("auto", "cuda"), ("tensorrt", "auto")):  # it was asked for
        with pytest.raises(type(error), match=str(error)):
            Cascade.load(tiny_bundle, backend, device)


def test_auto_does_not_hide_engines_that_answer_wrongly(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(chain: Chain, bundle: Bundle) -> None:
        raise GateFailed("4 of 4 acceptance cases failed")

    monkeypatch.setattr(cascade_module, "open_backend", lambda *_: OnnxRuntimeBackend(1))
    monkeypatch.setattr(cascade_module, "chosen_device", lambda *_: "cuda")
    monkeypatch.setattr(cascade_module, "certify", refuse)
    with pytest.raises(GateFailed, match="4 of 4"):
        Cascade.load(tiny_bundle)


def test_without_any_backend_the_message_says_what_to_install(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("auto", "onnxruntime"):
        with pytest.raises(EnvironmentUnusable, match=r"`pip install '\.\[cpu\]'`") as caught:
            Cascade.load(tiny_bundle, backend=name)
        assert "\n" not in str(caught.value)


def test_a_bundle_that_is_altered_is_not_run(bundle_copy: Path) -> None:
    path = bundle_copy / "seg_decoder.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(BundleError, match=r"seg_decoder\.fp32\.onnx was changed"):
        Cascade.load(bundle_copy)


WRONG_SPECS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "shape": (
        lambda t: t["tensors"]["gate2"].update(shape=[1, 6, 4, 5]),
        r"rootseg: the file takes image uint8\[1, 32, 32, 3\].* cascade.json says .*"
        r"gate2 float32\[1, 6, 4, 5\].*; export the bundle again",
    ),
    "type": (
        lambda t: t["tensors"]["mean1"].update(dtype={"fp32": "float16"}),
        r"cls: .*cascade.json says .*mean1 float16\[1, 1, 8, 8\]",
    ),
    "image size": (
        lambda t: t["tensors"]["image"].update(shape=[1, 64, 64, 3]),
        r"rootseg: .*cascade.json says image uint8\[1, 64, 64, 3\]",
    ),
    "order of inputs": (lambda t: t["nodes"][3]["inputs"].reverse(), "seg_decoder: the file takes"),
    "input left out": (lambda t: t["nodes"][3]["inputs"].pop(), "seg_decoder: the file takes"),
    "file of another node": (
        lambda t: t["nodes"][2].update(files={"fp32": "rootseg.fp32.onnx"}),
        "seg_encoder: the file takes",
    ),
    "file that is no network": (
        lambda t: t["nodes"][1].update(files={"fp32": "model_card.md"}),
        "cannot load cls: ",
    ),
}


@pytest.mark.parametrize("case", WRONG_SPECS)
def test_networks_other_than_promised_are_refused(bundle_copy: Path, case: str) -> None:
    change, message = WRONG_SPECS[case]
    expected = EngineError if case == "file that is no network" else BundleError
    with pytest.raises(expected, match=message) as caught:
        Cascade.load(edit_manifest(bundle_copy, change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"text", b"\x08\x0a" * 50])
def test_a_network_that_cannot_be_read_is_refused_in_one_line(
    bundle_copy: Path, content: bytes
) -> None:
    (bundle_copy / "cls.fp32.onnx").write_bytes(content)
    write_hashes(bundle_copy)
    with pytest.raises(EngineError, match="cannot load cls: ") as caught:
        Cascade.load(bundle_copy)
    assert "\n" not in str(caught.value)


# Input


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((60, 90), np.uint8),
        np.zeros((60, 90, 1), np.uint8),
        np.zeros((60, 90, 4), np.uint8),
        np.zeros((3, 60, 90), np.uint8),
        np.zeros((60, 90, 3), np.float32),
        np.zeros((60, 90, 3), np.uint16),
        np.zeros((60, 90, 3), np.int8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((0, 90, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (9000, 9000, 3)),
    ],
)
def test_an_array_that_is_no_photograph_is_refused(
    cascade: Cascade, image: NDArray[np.uint8]
) -> None:
    before = cascade.predict(photo(0))
    with pytest.raises(InputError, match=r"^image: "):
        cascade.predict(image)
    assert_equal(cascade.predict(photo(0)), before)


def test_a_file_that_is_no_photograph_is_refused(cascade: Cascade, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("words")
    with pytest.raises(InputError, match=r"text\.jpg: not an image"):
        cascade.predict(tmp_path / "text.jpg")


@pytest.mark.parametrize("shape", [(32, 32, 4), (64, 64, 3), (32, 32), (1, 32, 32, 3)])
def test_running_on_another_size_is_refused(cascade: Cascade, shape: tuple[int, ...]) -> None:
    with pytest.raises(EngineError, match=r"image: expected uint8\[1, 32, 32, 3\]"):
        cascade.chain.run_all(np.zeros(shape, np.uint8))


# The end


def test_a_closed_cascade_refuses_to_run(tiny_bundle: Path) -> None:
    cascade = Cascade.load(tiny_bundle)
    cascade.close()
    cascade.close()
    with pytest.raises(EngineError, match="rootseg is closed"):
        cascade.predict(photo(0))
    with pytest.raises(EngineError, match="rootseg is closed"):
        cascade.chain.run_all(np.zeros((SIDE, SIDE, 3), np.uint8))


def test_leaving_the_block_closes_it_also_on_an_error(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle) as first:
        first.predict(photo(0))
    with pytest.raises(ZeroDivisionError), Cascade.load(tiny_bundle) as second:
        _ = 1 / 0
    for cascade in (first, second):
        with pytest.raises(EngineError, match="closed"):
            cascade.predict(photo(0))


class FakeEngine:
    """Counts how often it was closed."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __init__(self, log: list[str], name: str, fails_at: str) -> None:
        self.log, self.name, self.fails_at = log, name, fails_at

    def bind(self, buffers: Mapping[str, DeviceBuffer]) -> None:
        if self.fails_at == f"bind {self.name}":
            raise EngineError("cannot bind")

    def enqueue(self, stream: int = 0) -> None:
        raise AssertionError("not to be run")

    def close(self) -> None:
        self.log.append(self.name)


class FakeBackend:
    """Fails at one step of loading."""

    name = "fake"
    device = "cpu"
    precisions: Mapping[str, str] = {"fp32": "fp32"}

    def __init__(self, fails_at: str, error: BaseException) -> None:
        self.fails_at, self.error = fails_at, error
        self.closed: list[str] = []

    def load(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Engine:
        onnx.read()
        if self.fails_at == f"load {node.name}":
            raise self.error
        return FakeEngine(self.closed, node.name, self.fails_at)

    def allocate(self, spec: TensorSpec) -> DeviceBuffer:
        if self.fails_at == f"allocate {spec.name}":
            raise self.error
        return OnnxRuntimeBuffer(spec)

    def runner(self, *given: Any) -> HostRunner:
        return HostRunner(*given)


@pytest.mark.parametrize(
    ("fails_at", "error", "closed"),
    [
        ("load rootseg", EngineError("no"), []),
        ("load cls", EngineError("no"), ["rootseg"]),
        ("load seg_decoder", KeyboardInterrupt(), ["rootseg", "cls", "seg_encoder"]),
        ("allocate gate3", MemoryError(), NODES),
        ("bind seg_encoder", EngineError("cannot bind"), NODES),
    ],
)
def test_what_fails_half_way_closes_what_was_opened(
    tiny_bundle: Path, fails_at: str, error: BaseException, closed: list[str]
) -> None:
    backend = FakeBackend(fails_at, error)
    with pytest.raises(type(error)):
        Cascade(Bundle(tiny_bundle), backend, "fp32")
    assert backend.closed == closed[::-1]  # last opened, first closed


def test_a_file_changed_after_opening_closes_what_was_opened(bundle_copy: Path) -> None:
    bundle, backend = Bundle(bundle_copy), FakeBackend("never", EngineError(""))
    (bundle_copy / "cls.fp32.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError, match="was changed"):
        Cascade(bundle, backend, "fp32")
    assert backend.closed == ["rootseg"]


def test_a_precision_that_the_bundle_lacks_is_refused(tiny_bundle: Path) -> None:
    backend = FakeBackend("never", EngineError(""))
    backend.precisions = {"int8": "int8"}
    with pytest.raises(UsageError, match=r"no int8 networks in this bundle; it has fp32; "):
        Cascade(Bundle(tiny_bundle), backend, "int8")

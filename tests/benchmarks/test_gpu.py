"""The race of `ckd-bench gpu`, rehearsed on the CPU with networks of a few weights."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from ckd.benchmarks import gpu, gpu_cli, gpu_contenders, gpu_steps, gpu_subject
from ckd.benchmarks.gpu import Settings, measure_gpu
from ckd.benchmarks.gpu_ceilings import measure_ceilings
from ckd.benchmarks.gpu_contenders import REFERENCE, Absent, Entry, open_all
from ckd.benchmarks.gpu_meter import Copies, Meter
from ckd.benchmarks.gpu_report import GpuReport, write_gpu_report
from ckd.benchmarks.gpu_steps import Logits, OnnxStep, Step
from ckd.benchmarks.gpu_subject import Deadline, Subject
from ckd.benchmarks.gpu_torch import TorchStep, full_precision, torch_system
from ckd.contract.bundle import Bundle
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError
from ckd.contract.manifest import IMAGE, ResultSpec
from ckd.train.systems.graph import Node, System

SIDE = 32
REHEARSAL = Settings(
    device="cpu", batches=(1, 2), runs=3, warmup=1, side=32, copy_bytes=1 << 12, compiler="eager"
)  # fmt: skip


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv(image)
        return logits


class Second(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.conv(image))
        return self.head(x.mean((2, 3)) + coarse.mean((2, 3))), x[:, :1]


def toy(seed: int = 0) -> System:
    torch.manual_seed(seed)
    return System(
        "toy",
        (
            Node("first", First(), (IMAGE,), ("coarse_logits",)),
            Node("second", Second(), (IMAGE, "coarse_logits"), ("logits", "mask_logits")),
        ),
        ("MEL", "NEV"),
        ("MEL",),
        SIDE,
        ResultSpec("logits", "mask_logits", "coarse_logits"),
    ).eval()


@pytest.fixture(scope="module")
def toy_recipe() -> Iterator[None]:
    """The recipe ckdnet-tiny builds the toy."""

    def untrained_run(name: str, run: Path) -> None:
        run.mkdir(parents=True)
        (run / "data.json").write_text("{}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_subject, "untrained_run", untrained_run)
        patch.setattr(gpu_subject, "load_run", lambda run: (None, toy()))
        yield


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of the toy, made once for all tests."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def report(toy_recipe: None, work: Path, results: Path, said: list[str]) -> GpuReport:
    return measure_gpu(
        ["ckdnet-tiny"], work, results, settings=REHEARSAL, deadline=Deadline(600.0),
        command="ckd-bench gpu", say=said.append,
    )  # fmt: skip


@pytest.fixture
def subject(toy_recipe: None, work: Path) -> Subject:
    return Subject("ckdnet-tiny", work, Deadline(600.0))


def test_every_contender_races_or_says_why_not(report: GpuReport) -> None:
    assert [race.title for race in report.races] == [
        "ckdnet-tiny, batch of 1",
        "ckdnet-tiny, batch of 2",
    ]
    for race in report.races:
        assert [result.name for result in race.results] == [
            REFERENCE,
            "PyTorch eager FP16",
            "torch.compile max-autotune FP16",
            "ONNX Runtime, one graph FP32",
            "ONNX Runtime, one graph FP16",
            "ckd, onnxruntime FP32",
            "ckd, onnxruntime FP16",
        ]
        absent = {entry.name: entry.reason for entry in race.absent}
        assert set(absent) == {
            "PyTorch INT8", "TensorRT, one graph FP16",
            "ckd, tensorrt FP32", "ckd, tensorrt FP16", "ckd, tensorrt INT8",
        }  # fmt: skip
        assert all("tensorrt" in reason for name, reason in absent.items() if "ckd" in name)


def test_every_call_is_timed_twice_over(report: GpuReport) -> None:
    for race in report.races:
        assert race.runs == 3
        for result in race.results:
            assert result.wall.runs == result.device.runs == 3
            assert 0 < result.device.min_ms <= result.wall.min_ms
            assert result.wall_over_device >= 1.0
            assert result.floor is not None
            assert result.over_floor == pytest.approx(result.device.p50_ms / result.floor.ms)
        assert race.results[0].speedup is not None
        assert race.results[0].speedup.median == 1.0


def test_all_contenders_give_the_same_answers(report: GpuReport) -> None:
    for result in (result for race in report.races for result in race.results):
        # The toy has two layers: half precision rounds it twice, float32 not at all.
        limit = 1e-5 if result.precision == "fp32" else 1e-2
        assert result.logit_error == pytest.approx(0.0, abs=limit), result.name


def test_copies_are_of_the_whole_batch(report: GpuReport) -> None:
    image, answers = SIDE * SIDE * 3, 4 * (2 + SIDE**2 + (SIDE // 4) ** 2)
    for race in report.races:
        copies = {result.name: result.copies for result in race.results}
        batch = race.batch
        assert copies[REFERENCE] == Copies(1, batch * image, 3, batch * answers)
        assert copies["ONNX Runtime, one graph FP32"] == Copies(1, image, 3, answers) * batch


def test_the_report_is_written_after_every_race(
    report: GpuReport, results: Path, said: list[str]
) -> None:
    folder = results / report.folder_name
    assert folder.name.startswith("gpu-")
    assert folder.name.endswith(report.conditions.date[:10])
    tree = json.loads((folder / "gpu.json").read_text())
    assert (tree["schema"], tree["measured"], len(tree["races"])) == (1, "gpu", 2)
    assert tree["races"][1]["results"][0]["wall_over_device"] >= 1.0
    text = (folder / "gpu.md").read_text()
    assert "A rehearsal on a CPU" in text
    assert "* ckd, tensorrt INT8: " in text
    assert "take it one by one" in text
    for line in text.splitlines():
        assert line.startswith("|") == line.endswith("|")  # no broken row
    assert (folder / "gpu.png").stat().st_size > 20_000
    assert sum(line.startswith("wrote gpu-") for line in said) == 2


def test_what_was_measured_is_kept_when_a_later_race_fails(
    toy_recipe: None, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_race = gpu.run_race

    def first_only(subject: Subject, batch: int, *rest: Any) -> Any:
        if batch == 2:
            raise RuntimeError("the device has fallen off the bus")
        return run_race(subject, batch, *rest)

    monkeypatch.setattr(gpu, "run_race", first_only)
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(()))
    with pytest.raises(RuntimeError, match="fallen off"):
        measure_gpu(
            ["ckdnet-tiny"], work, tmp_path, settings=REHEARSAL, deadline=Deadline(600.0)
        )  # fmt: skip
    (found,) = tmp_path.glob("gpu-*/gpu.json")
    assert len(json.loads(found.read_text())["races"]) == 1


def test_without_matplotlib_there_is_no_picture(
    report: GpuReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ckd.benchmarks.gpu_picture", None)
    written = write_gpu_report(report, tmp_path)
    assert [Path(name).name for name in written] == ["gpu.json", "gpu.md"]


def test_a_wrong_recipe_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe 'ckdnet-r1O1'"):
        measure_gpu(["ckdnet-r1O1"], tmp_path, None, settings=REHEARSAL, deadline=Deadline(9.0))


# Who races


class Scripted:
    """A step that answers what it is told to."""

    def __init__(self, *logits: float, fails: str = "") -> None:
        self.values, self.fails = np.array([logits]), fails
        self.device_ms: list[float] = []
        self.closed = 0

    def __call__(self) -> None:
        self.device_ms.append(1.0)
        if self.fails and len(self.device_ms) == 2:
            raise RuntimeError(f"{self.fails}\n  at kernel.cu:7")

    def logits(self) -> Logits:
        return {"logits": self.values}

    def copies(self) -> Copies:
        return Copies(0, 0, 0, 0)

    def allocations(self) -> int | None:
        return len(self.device_ms)

    def close(self) -> None:
        self.closed += 1


def entry(name: str, precision: str, step: Step) -> Entry:
    return Entry(name, precision, lambda images: step)


IMAGES = np.zeros((1, SIDE, SIDE, 3), np.uint8)


def test_who_fails_or_answers_otherwise_is_listed_and_closed() -> None:
    good, broken, other = Scripted(1.0, 2.0), Scripted(fails="CUDA error: lost"), Scripted(1.0, 3.0)
    rough = Scripted(1.0, 2.5)
    said: list[str] = []
    with ExitStack() as stack:
        opened = open_all(
            iter(
                [
                    entry(REFERENCE, "fp32", good),
                    entry("broken", "fp16", broken),
                    entry("other", "fp32", other),
                    entry("rough", "fp16", rough),
                ]
            ),
            IMAGES, stack, said.append,
        )  # fmt: skip
    assert list(opened.steps) == [REFERENCE, "rough"]
    assert opened.logit_errors == {REFERENCE: 0.0, "rough": pytest.approx(0.25)}
    assert opened.absent == (
        Absent("broken", "RuntimeError: CUDA error: lost"),
        Absent("other", "UsageError: its logits differ from PyTorch's by 0.5 of the largest"),
    )
    assert [step.closed for step in (good, broken, other, rough)] == [1, 1, 1, 1]
    assert "broken does not race: RuntimeError: CUDA error: lost" in said


def test_without_the_reference_the_others_still_race(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [
        entry(REFERENCE, "fp32", Scripted(1.0, fails="out of memory")),
        entry("one", "fp32", Scripted(1.0)),
    ]
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(wanted))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, Deadline(9.0), lambda line: None)
    (result,) = race.results
    assert (result.name, result.speedup, result.logit_error) == ("one", None, None)
    assert result.allocations == 3  # one in each timed turn, as its script says


def test_a_race_without_anybody_is_still_a_result(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: GpuReport
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(gpu, "entries", lambda *_: iter([entry("x", "fp32", Scripted(fails="no"))]))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, Deadline(9.0), lambda line: None)
    # The first call of a fresh script fails only in its second turn: it never raced.
    assert (race.results, [absent.name for absent in race.absent]) == ((), ["x"])
    assert len(write_gpu_report(replace(report, races=(race,)), tmp_path)) == 3


@pytest.mark.parametrize(("left_s", "runs"), [(1e6, 200), (40.0, 120), (0.0, 20)])
def test_runs_fit_into_the_time_that_is_left(left_s: float, runs: int) -> None:
    first_ms = {"a": np.array([60.0, 60.0]), "b": np.array([40.0, 40.0])}
    assert gpu._affordable(200, first_ms, Deadline(left_s, clock=lambda: 0.0)) == runs
    assert gpu._affordable(5, first_ms, Deadline(0.0, clock=lambda: 0.0)) == 5


# What is raced


def test_what_takes_too_long_is_not_begun(toy_recipe: None, tmp_path: Path) -> None:
    now_s = [0.0]
    late = Subject("ckdnet-tiny", tmp_path, Deadline(100.0, clock=lambda: now_s[0]))
    now_s[0] = 95.0
    with pytest.raises(UsageError, match=r"no time: one graph of ckdnet-tiny takes some 10 s, 5 s"):
        late.one_graph("fp32")
    assert list((tmp_path / "ckdnet-tiny").iterdir()) == [tmp_path / "ckdnet-tiny" / "run"]
    now_s[0] = 0.0
    with pytest.raises(UsageError, match="no time"):  # a reason given once is not tried again
        late.one_graph("fp32")


def test_files_are_made_once(
    report: GpuReport, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("exported again")

    monkeypatch.setattr(gpu_subject, "export_onnx", never)
    assert subject.one_graph("fp16").is_file()
    assert set(Bundle(subject.bundle("fp32")).manifest.precisions()) == {"fp32", "fp16"}


def test_a_bundle_of_one_graph_holds_the_whole_system(subject: Subject) -> None:
    folder = subject.one_graph_bundle("fp16")
    bundle = Bundle(folder)
    bundle.verify()
    (node,) = bundle.manifest.nodes
    assert (node.inputs, set(node.outputs)) == ((IMAGE,), set(subject.system.results.names()))
    assert bundle.manifest.precisions() == ("fp16",)
    made = folder.stat().st_mtime_ns
    assert subject.one_graph_bundle("fp16") == folder
    assert folder.stat().st_mtime_ns == made


def test_int8_files_are_made_of_generated_images(subject: Subject) -> None:
    manifest = Bundle(subject.bundle("int8")).manifest
    assert {"int8", "int8.cpu"} <= set(manifest.precisions())


# Steps


def test_half_precision_normalises_the_image_in_float32(subject: Subject) -> None:
    half = torch_system(subject.system, "fp16", "cpu")
    image = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    prepared = half.image_input(image)
    assert prepared.dtype == torch.float16
    torch.testing.assert_close(prepared, subject.system.image_input(image).half(), rtol=0, atol=0)
    assert {weights.dtype for weights in half.parameters()} == {torch.float16}
    assert {weights.dtype for weights in subject.system.parameters()} == {torch.float32}


def test_a_closed_torch_step_holds_no_weights(subject: Subject) -> None:
    step = TorchStep(
        torch_system(subject.system, "fp32", "cpu"), IMAGES, "cpu", compiled=True, compiler="eager"
    )  # fmt: skip
    step()
    step.close()
    with pytest.raises(EngineError, match="has been closed"):
        step()


@pytest.mark.slow
def test_torch_compile_itself_runs_the_networks(subject: Subject) -> None:
    system = torch_system(subject.system, "fp32", "cpu")
    step = TorchStep(system, IMAGES, "cpu", compiled=True)
    plain = TorchStep(system, IMAGES, "cpu")
    step()
    plain()
    for name, values in plain.logits().items():
        np.testing.assert_allclose(step.logits()[name], values, atol=1e-5)
    step.close()


def test_float32_is_exact_while_it_is_measured() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = True
    try:
        with full_precision():
            assert not matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
        assert matmul.allow_tf32
    finally:
        matmul.allow_tf32 = before


@pytest.fixture
def gpu_build(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """ONNX Runtime's GPU build, which here always falls back; and torch's streams."""
    asked: dict[str, Any] = {}

    class Session:
        def __init__(self, path: str, providers: list[Any], enable_fallback: int) -> None:
            ((provider, settings),) = providers
            asked.update(path=path, provider=provider, enable_fallback=enable_fallback, **settings)

        def get_providers(self) -> list[str]:
            return [str(asked.get("took", "CPUExecutionProvider"))]

        def get_outputs(self) -> list[Any]:
            return [SimpleNamespace(name="logits")]

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: SimpleNamespace(cuda_stream=0x77))
    monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: None)
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"]
    )  # fmt: skip
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return asked


def test_onnx_runtime_on_cuda_has_no_tf32_and_a_stream_that_is_timed(
    gpu_build: dict[str, Any],
) -> None:
    gpu_build["took"] = "CUDAExecutionProvider"
    OnnxStep(lambda: Path("one.onnx"), IMAGES, "cuda:1")
    assert gpu_build["user_compute_stream"] == str(0x77)
    assert (gpu_build["device_id"], gpu_build["use_tf32"]) == ("1", "0")
    assert (gpu_build["path"], gpu_build["enable_fallback"]) == ("one.onnx", 0)


def test_onnx_runtime_that_falls_back_does_not_race(gpu_build: dict[str, Any]) -> None:
    with pytest.raises(EngineError, match="fell back to the CPU"):
        OnnxStep(lambda: Path("one.onnx"), IMAGES, "cuda")


def test_nothing_is_exported_for_a_library_that_is_missing() -> None:
    def never() -> Path:
        raise AssertionError("exported")

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this is the GPU build of ONNX Runtime")
    with pytest.raises(EngineError, match="was built without CUDA"):
        OnnxStep(never, IMAGES, "cuda")


@pytest.mark.parametrize("name", ["onnxruntime", "tensorrt"])
def test_our_cascade_is_opened_on_a_device_that_counts(
    name: str, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backends stand in for those of a GPU: they compute on the CPU and count nothing."""
    from ckd.runtime.backends import open_backend

    released: list[int] = []
    cuda = SimpleNamespace(create_event=lambda timing: 5, destroy_event=released.append)
    given: list[Any] = []

    def backend_on(device: Any) -> Any:
        given.append(device)
        return open_backend("onnxruntime", "cpu", 1)

    bindings = SimpleNamespace(open_cuda=lambda device: cuda)
    monkeypatch.setitem(sys.modules, "ckd.runtime.cuda.bindings", bindings)
    for module, backend in (
        ("onnxruntime_cuda", "OnnxRuntimeCudaBackend"),
        ("tensorrt", "TensorRtBackend"),
    ):
        fake = SimpleNamespace(**{backend: backend_on})
        monkeypatch.setitem(sys.modules, f"ckd.runtime.backends.{module}", fake)
    step = gpu_steps.open_ckd(lambda: subject.bundle("fp32"), name, "fp32", IMAGES, "cuda:0")
    step()
    assert step.device_ms == [0.0]
    assert (step.allocations(), step.copies()) == (0, Copies(0, 0, 0, 0))
    assert isinstance(given[0], Meter)
    step.close()
    assert released == [5, 5]
    with pytest.raises(UsageError, match="no int8"):
        gpu_steps.open_ckd(lambda: subject.bundle("fp32"), name, "int8", IMAGES, "cuda:0")
    assert released == [5, 5, 5, 5]


# The command


def run_command(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["ckd-bench", "gpu", "--device", "cpu"])
    defaults: Mapping[str, Any] = {
        "recipe": ["ckdnet-tiny"], "batch": [1], "device": "cpu", "runs": 2, "warmup": 0,
        "limit": 500.0, "work": None, "results": None, "as_json": False,
    }  # fmt: skip
    gpu_cli.gpu_command(**{**defaults, **options})


def test_the_command_prints_and_writes(
    report: GpuReport, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    reference: Callable[..., Iterator[Entry]] = gpu_contenders.entries
    monkeypatch.setattr(gpu, "entries", lambda *given: iter([next(reference(*given))]))
    run_command(monkeypatch, work=work, results=tmp_path, as_json=True)
    tree = json.loads(capsys.readouterr().out)
    assert [result["name"] for result in tree["races"][0]["results"]] == [REFERENCE]
    assert tree["conditions"]["command"] == "ckd-bench gpu --device cpu"
    assert len(list(tmp_path.glob("gpu-*/gpu.md"))) == 1
    run_command(monkeypatch)
    assert capsys.readouterr().out.startswith("# Cascades on ")


def test_a_batch_size_given_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="--batch: 8, 8 has one twice"):
        run_command(monkeypatch, batch=[8, 8])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_is_one_error_with_exit_code_3(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentUnusable):
        measure_gpu([], tmp_path, None, settings=Settings(), deadline=Deadline(9.0))
    done = subprocess.run(
        [sys.executable, "-m", "ckd.benchmarks.cli", "gpu", "--results", str(tmp_path / "out")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

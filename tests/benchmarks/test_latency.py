import functools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.runtime.cuda.fake import RecordingCuda
from tests.runtime.fake_onnxruntime import GpuBuild
from torch import Tensor, nn

from ckd.benchmarks import latency as module
from ckd.benchmarks.cli import main
from ckd.benchmarks.contenders import CascadeSetting
from ckd.benchmarks.latency import latency
from ckd.benchmarks.latency_files import write_report
from ckd.benchmarks.measure import Ratio
from ckd.benchmarks.processes import memory_of, startup
from ckd.benchmarks.report import LatencyReport, Memory
from ckd.benchmarks.same_networks import SAME_NETWORKS
from ckd.contract.errors import UsageError
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.export.bundle import write_bundle
from ckd.export.onnx import export_onnx
from ckd.runtime.backends import onnxruntime_cuda
from ckd.runtime.backends.tensorrt.backend import TensorRtBackend
from ckd.train.systems import rewrite
from ckd.train.systems.graph import Node, System


class Coarse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv(image)
        return logits


class Fine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(image)
        return self.head(x.mean((2, 3)) + coarse.mean((2, 3))), x[:, :1]


ONE_THREAD = CascadeSetting(threads=1)


def toy(seed: int = 0) -> System:
    """Two nodes that answer everything a real system does, small enough to export in a second."""
    torch.manual_seed(seed)
    return System(
        "toy",
        (
            Node("first", Coarse(), (IMAGE,), ("coarse_logits",)),
            Node("second", Fine(), (IMAGE, "coarse_logits"), ("logits", "mask_logits")),
        ),
        ("MEL", "NEV"),
        ("MEL",),
        32,
        OutputSpec("logits", "mask_logits", "coarse_logits"),
    ).eval()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "toy"
    write_bundle(toy(), folder, name="toy", provenance={})
    return folder


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "fused.onnx"
    whole = rewrite.merged(toy(), ("first", "second"), "fused").eval()
    export_onnx(whole.nodes[0], whole, path)
    return path


def trained(monkeypatch: pytest.MonkeyPatch, system: System) -> Path:
    """A run folder that loads as ``system``, in this process."""
    run_folder = SimpleNamespace(load_run=lambda run: (None, system))
    monkeypatch.setitem(sys.modules, "ckd.train.fitting.run_folder", run_folder)
    monkeypatch.setattr(module, "memory_of", lambda *_: Memory(1.0, 2.0, 0.5))
    return Path("a-run")


@pytest.fixture
def report(bundle: Path, fused: Path, monkeypatch: pytest.MonkeyPatch) -> LatencyReport:
    run = trained(monkeypatch, toy())
    return latency(
        bundle, run=run, fused=fused, setting=ONE_THREAD, warmup=1, runs=3, command="ckd-bench"
    )


def test_every_contender_is_measured_in_both_scopes(report: LatencyReport) -> None:
    contenders = {contender.kind: contender for contender in report.contenders}

    assert list(contenders) == ["chain", "jpeg", "fused", "pytorch"]
    for kind, contender in contenders.items():
        assert (contender.frame.runs, contender.frame.warmup) == (3, 1)
        assert contender.frame_speedup is not None
        if kind == "jpeg":
            assert contender.networks is None
            continue
        assert contender.networks is not None
        assert contender.networks.runs == 3
        assert contender.networks.min_ms < contender.frame.min_ms  # a part of it
        # float32 everywhere: only the order of sums differs.
        assert contender.logit_error == pytest.approx(0.0, abs=1e-5)
    assert contenders["pytorch"].frame_speedup == Ratio(1.0, 1.0, 1.0)
    assert report.fused_ratio is not None


def test_the_chain_is_told_step_by_step(report: LatencyReport) -> None:
    assert list(report.steps) == ["preprocess", "first", "second", "postprocess"]
    assert (report.threads, report.image_size, report.precision) == (1, 32, "fp32")
    assert report.overhead.runs == 3
    assert report.overhead.min_ms > 0


def test_without_a_run_only_the_runtime_is_measured(bundle: Path) -> None:
    report = latency(bundle, setting=ONE_THREAD, warmup=0, runs=2)

    assert [contender.kind for contender in report.contenders] == ["chain", "jpeg"]
    assert all(contender.frame_speedup is None for contender in report.contenders)
    assert "PyTorch" not in report.to_markdown()
    memory = report.contenders[0].memory
    assert memory is not None
    assert 0 < memory.libraries_mb < memory.peak_mb
    assert 0 < memory.files_mb < memory.peak_mb


def test_the_fused_graph_runs_alone_in_a_fresh_process(bundle: Path, fused: Path) -> None:
    memory = memory_of("fused", fused, bundle, ONE_THREAD)

    assert 0 < memory.libraries_mb < memory.peak_mb
    assert 0 < memory.files_mb < memory.peak_mb


def test_on_a_gpu_all_networks_are_one_step(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cuda = RecordingCuda()
    monkeypatch.setattr("ckd.runtime.cuda.bindings.open_cuda", lambda device: cuda)
    monkeypatch.setattr(onnxruntime_cuda, "ort", GpuBuild(cuda=cuda))
    asked: list[CascadeSetting] = []

    def memory_of(kind: str, source: Path, bundle: Path, setting: CascadeSetting) -> Memory:
        asked.append(setting)
        return Memory(1.0, 2.0, 0.5)

    monkeypatch.setattr(module, "memory_of", memory_of)
    setting = CascadeSetting(threads=1, device="cuda")
    report = latency(bundle, setting=setting, warmup=0, runs=2)

    assert list(report.steps) == ["preprocess", "networks", "postprocess"]
    networks = report.contenders[0].networks
    assert networks is not None
    assert networks.p50_ms == report.steps["networks"].p50_ms
    (used,) = asked
    assert report.device == used.device == "cuda:0"
    assert "FP32 on cuda:0, 1 CPU threads" in report.to_markdown()
    assert "latency.png" in write_report(report, tmp_path)

    with pytest.raises(UsageError, match="the chain on cuda:0; leave out --run"):
        latency(bundle, run=Path("a-run"), setting=setting, warmup=0, runs=1)


def test_an_automatic_precision_is_the_one_that_was_taken(bundle: Path) -> None:
    report = latency(bundle, setting=replace(ONE_THREAD, precision="auto"), warmup=0, runs=1)
    assert report.precision == "fp32"


def test_half_precision_is_compared_as_such() -> None:
    assert set(SAME_NETWORKS) >= {
        precision
        for backend in (onnxruntime_cuda.OnnxRuntimeCudaBackend, TensorRtBackend)
        for precision in backend.precisions
    }


def test_other_weights_are_not_compared(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(monkeypatch, toy(seed=1))

    with pytest.raises(UsageError, match="pytorch: logits differ"):
        latency(bundle, run=run, setting=ONE_THREAD, warmup=0, runs=1)


def test_other_classes_are_not_compared(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = toy()
    other.labels = ("BEN", "MEL")

    with pytest.raises(UsageError, match="a-run has classes BEN, MEL at 32 px"):
        latency(bundle, run=trained(monkeypatch, other), setting=ONE_THREAD, warmup=0, runs=1)


def test_thread_counts_are_given_back(report: LatencyReport, bundle: Path) -> None:
    import cv2

    before = cv2.getNumThreads()
    latency(bundle, setting=ONE_THREAD, warmup=0, runs=1)

    assert cv2.getNumThreads() == before


def test_startup_measures_fresh_processes(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKD_BUNDLE", "/nowhere")  # another bundle than the one that is measured
    bare, imported, image = startup(bundle, setting=ONE_THREAD, runs=2)

    assert bare.wall.runs == 2
    assert bare.peak_mb < imported.peak_mb < image.peak_mb


def test_report_files_are_written_and_parse(report: LatencyReport, tmp_path: Path) -> None:
    busy = replace(report.conditions, other_cores=1.5)
    report = replace(report, conditions=busy, weights="untrained")

    written = write_report(report, tmp_path / "out")

    assert written == ["latency.json", "latency.md", "latency.png"]
    tree = json.loads((tmp_path / "out/latency.json").read_text())
    assert tree["schema"] == 1
    assert tree["machine"]["cpu_flags"] == list(report.machine.cpu_flags)
    assert tree["contenders"][0]["frame"]["runs"] == 3
    text = (tmp_path / "out/latency.md").read_text()
    for expected in (
        "one fused ONNX graph",
        "Weights: untrained",
        "machine was shared",
        "`ckd-bench`",
    ):
        assert expected in text
    for line in text.splitlines():
        assert line.startswith("|") == line.endswith("|")  # no broken row
    picture = (tmp_path / "out/latency.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000  # more than an empty figure


def test_without_matplotlib_there_is_no_picture(
    report: LatencyReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ckd.benchmarks.picture", None)

    assert write_report(report, tmp_path) == ["latency.json", "latency.md"]


#: `ckd-bench` with arguments.
Command = Callable[..., Any]


@pytest.fixture
def ckd_bench(in_process: Callable[..., Any]) -> Command:
    return functools.partial(in_process, main, "ckd-bench")


def test_the_command_prints_json_and_writes_files(
    bundle: Path, tmp_path: Path, ckd_bench: Command
) -> None:
    out = tmp_path / "out"

    done = ckd_bench(
        "latency", "--bundle", str(bundle), "--runs", "2", "--warmup", "0", "--threads", "1",
        "--out", str(out), "--json",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    tree = json.loads(done.stdout)
    assert tree["conditions"]["command"].startswith("ckd-bench latency --bundle toy --runs 2")
    assert [process["what"] for process in tree["startup"]][-1] == "`ckd-run image`, one frame"
    assert json.loads((out / "latency.json").read_text()) == tree
    assert str(tmp_path) not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--runs", "0"), 2, "--runs"),
        (("--runs", "1000000000000000000000"), 2, "--runs"),
        (("--warmup", "1000000000000000000000"), 2, "--warmup"),
        (("--threads", "100000"), 2, "--threads"),
        (("--speed", "9"), 2, "--speed"),
        (("--recipe", "ckdnet-tiny", "--run", "x"), 2, "leave out --run"),
        (("--recipe", "nothing"), 2, "no recipe 'nothing'"),
        (("--device", "gpu"), 2, "unknown device 'gpu'"),
        (("--backend", "openvino", "--device", "cuda"), 2, "openvino runs on the CPU here"),
        (("--device", "cuda", "--run", "x"), 2, "leave them out, or race them all"),
        (("--bundle", "nowhere"), 5, "no such bundle"),
    ],
)
def test_what_cannot_be_done_ends_with_its_exit_code(
    arguments: tuple[str, ...], code: int, said: str, ckd_bench: Command
) -> None:
    done = ckd_bench("latency", *arguments)

    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.system
def test_a_recipe_is_measured_untrained(tmp_path: Path, ckd_bench: Command) -> None:
    done = ckd_bench(
        "latency", "--recipe", "ckdnet-tiny", "--runs", "1", "--warmup", "1", "--out", str(tmp_path)
    )

    assert done.returncode == 0, done.stderr
    assert "Weights: untrained, batch normalisation calibrated" in done.stdout
    tree = json.loads((tmp_path / "latency.json").read_text())
    assert [c["kind"] for c in tree["contenders"]] == ["chain", "jpeg", "fused", "pytorch"]
    assert list(tree["steps"])[1:-1] == ["rootseg", "cls", "seg_encoder", "seg_decoder"]


@pytest.mark.parametrize("name", ["cli", "latency", "report"])
def test_import_stays_light(name: str) -> None:
    heavy = "{'torch', 'onnx', 'onnxruntime', 'matplotlib', 'lightning'}"
    code = (
        f"import ckd.benchmarks.{name}, sys; sys.exit(', '.join(sys.modules.keys() & {heavy}) or 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, f"ckd.benchmarks.{name} pulls in {done.stderr.strip()}"


@pytest.mark.system
def test_a_bundle_is_measured_where_pytorch_is_not_installed(bundle: Path) -> None:
    code = (
        "import sys; sys.modules.update(torch=None, onnx=None);"
        "from ckd.benchmarks.cli import main;"
        f"sys.argv = ['ckd-bench', 'latency', '--bundle', {str(bundle)!r}, '--runs', '1',"
        " '--warmup', '0', '--threads', '1', '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["measured"] == "latency"

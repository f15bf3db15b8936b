"""The race of `ckd-bench gpu`, rehearsed on the CPU with networks of a few weights."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ckd import console
from ckd.benchmarks.cli import cli, main
from ckd.benchmarks.gpu import cli as gpu_cli
from ckd.benchmarks.gpu import contenders as gpu_contenders
from ckd.benchmarks.gpu import measure as gpu
from ckd.benchmarks.gpu.ceilings import measure_ceilings
from ckd.benchmarks.gpu.contenders import REFERENCE, Absent, Entry, open_all
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.files import write_gpu_report
from ckd.benchmarks.gpu.measure import Settings, measure_gpu
from ckd.benchmarks.gpu.meter import Copies
from ckd.benchmarks.gpu.report import GpuReport
from ckd.benchmarks.gpu.steps import Logits, Step
from ckd.benchmarks.gpu.subject import Subject
from ckd.benchmarks.gpu.turns import affordable
from ckd.contract.errors import EngineError, EnvironmentUnusable, UsageError

SIDE = 32
REHEARSAL = Settings(
    device="cpu", batches=(1, 2), runs=3, warmup=1, side=32, copy_bytes=1 << 12, compiler="eager"
)  # fmt: skip


class Scripted:
    """A step that answers what it is told to, and fails or dawdles in one call."""

    def __init__(
        self, *logits: float, fails: str = "", call: int = 2, takes_s: float = 0.0, caveat: str = ""
    ) -> None:
        self.values, self.fails, self.call = np.array([logits]), fails, call
        self.takes_s, self.caveat = takes_s, caveat
        self.device_ms: list[float] = []
        self.closed = 0

    def __call__(self) -> None:
        self.device_ms.append(1.0)
        if len(self.device_ms) == self.call:
            time.sleep(self.takes_s)
        if self.fails and len(self.device_ms) == self.call:
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
            "ONNX Runtime, one graph FP16",
            "ONNX Runtime, one graph FP32",
            "ckd, onnxruntime FP16",
            "ckd, onnxruntime FP32",
        ]
        absent = {entry.name: entry.reason for entry in race.absent}
        assert set(absent) == {
            "PyTorch INT8", "TensorRT, one graph FP16",
            "ckd, tensorrt FP32", "ckd, tensorrt FP16", "ckd, tensorrt INT8",
            "ckd, tensorrt FP16, one network at a time",
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
    (file,) = tmp_path.glob("gpu-*/gpu.json")
    assert len(json.loads(file.read_text())["races"]) == 1


def test_a_recipe_leaves_time_for_those_after_it(
    toy_recipe: None, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits_s: list[float] = []

    def note(name: str, folder: Path, deadline: Deadline) -> Subject:
        limits_s.append(deadline.limit_s)
        return Subject(name, folder, deadline)

    monkeypatch.setattr(gpu, "Subject", note)
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(()))
    recipes = ["ckdnet-tiny", "ckdnet-tiny"]
    deadline = Deadline(100.0, clock=lambda: 0.0)
    measure_gpu(recipes, work, None, settings=REHEARSAL, deadline=deadline)
    assert limits_s == [85.0, 100.0]


def test_without_matplotlib_there_is_no_picture(
    report: GpuReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ckd.benchmarks.gpu.picture", None)
    written = write_gpu_report(report, tmp_path)
    assert [Path(name).name for name in written] == ["gpu.json", "gpu.md"]


def test_a_wrong_recipe_is_known_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no recipe 'ckdnet-r1O1'"):
        measure_gpu(["ckdnet-r1O1"], tmp_path, None, settings=REHEARSAL, deadline=Deadline(9.0))


@pytest.mark.parametrize(("device", "chosen"), [("cuda:1", [1]), ("cuda", []), ("cpu", [])])
def test_the_gpu_that_is_named_is_the_current_one_from_the_start(
    work: Path, monkeypatch: pytest.MonkeyPatch, device: str, chosen: list[int]
) -> None:
    def measure(device: str, **_: object) -> None:
        raise EnvironmentUnusable(f"current by now: {used}")

    used: list[int] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(gpu, "check_device", lambda device: None)
    monkeypatch.setattr(gpu, "measure_ceilings", measure)
    settings = replace(REHEARSAL, device=device)
    with pytest.raises(EnvironmentUnusable, match=re.escape(f"by now: {chosen}")):
        measure_gpu([], work, None, settings=settings, deadline=Deadline(9.0))


# Who races


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
            np.zeros((1, SIDE, SIDE, 3), np.uint8), stack, Deadline(600.0), num_turns=20,
            say=said.append,
        )  # fmt: skip
    assert list(opened.steps) == [REFERENCE, "rough"]
    assert opened.logit_errors == {REFERENCE: 0.0, "rough": pytest.approx(0.25)}
    assert opened.absent == (
        Absent("broken", "RuntimeError: CUDA error: lost"),
        Absent("other", "UsageError: its logits differ from PyTorch's by 0.5 of the largest"),
    )
    assert [step.closed for step in (good, broken, other, rough)] == [1, 1, 1, 1]
    assert "broken does not race: RuntimeError: CUDA error: lost" in said


@pytest.mark.parametrize(
    ("takes_s", "limit_s", "num_turns", "call", "why"),
    [
        (30.0, 1.0, 1, 1, r"no time: slow was stopped after 0 s, 50% of what was left"),
        (0.1, 9.0, 20, 2, r"no time: its 20 turns would take some 2 s, 9 s of 9 s are left"),
    ],
)
def test_a_slow_contender_does_not_keep_the_others_from_racing(
    takes_s: float, limit_s: float, num_turns: int, call: int, why: str
) -> None:
    slow = Scripted(1.0, takes_s=takes_s, call=call)
    wanted = [
        entry(REFERENCE, "fp32", Scripted(1.0)), entry("slow", "fp16", slow),
        entry("last", "fp16", Scripted(1.0)),
    ]  # fmt: skip
    with ExitStack() as stack:
        opened = open_all(
            iter(wanted), np.zeros((1, SIDE, SIDE, 3), np.uint8), stack, Deadline(limit_s),
            num_turns=num_turns, say=lambda line: None,
        )  # fmt: skip
    assert list(opened.steps) == [REFERENCE, "last"]
    (absent,) = opened.absent
    assert re.match(f"UsageError: {why}", absent.reason), absent
    assert slow.closed == 1


def test_who_fails_while_it_is_timed_is_listed_and_the_others_are_timed_anew(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            raise RuntimeError("the device is lost")

    wanted = [
        entry(REFERENCE, "fp32", Scripted(1.0)),
        entry("first turns", "fp16", Scripted(1.0, fails="out of memory", call=3)),
        entry("timed turns", "fp16", Stuck(1.0, fails="illegal address", call=6)),
        entry("last", "fp16", Scripted(1.0)),
    ]
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(wanted))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    said: list[str] = []
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, said.append)
    assert [(r.name, r.wall.runs, r.device.runs) for r in race.results] == [
        (REFERENCE, 3, 3), ("last", 3, 3),
    ]  # fmt: skip
    assert all(result.speedup is not None for result in race.results)
    assert race.absent == (
        Absent("first turns", "failed while it was timed: RuntimeError: out of memory"),
        Absent("timed turns", "failed while it was timed: RuntimeError: illegal address"),
    )
    assert any("timed turns could not be closed: RuntimeError: the device" in line for line in said)


def test_a_caveat_is_part_of_the_name(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [
        entry(REFERENCE, "fp32", Scripted(1.0)),
        entry("compiled", "fp16", Scripted(1.0, caveat=", no CUDA graphs")),
    ]
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(wanted))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, lambda line: None)
    assert [result.name for result in race.results] == [REFERENCE, "compiled, no CUDA graphs"]


def test_pytorch_is_open_before_anything_is_exported(subject: Subject) -> None:
    names = [wanted.name for wanted in gpu_contenders.entries(subject, "cuda")]
    assert all("PyTorch" in name or "torch.compile" in name for name in names[:3])
    assert names[3] == "ckd, tensorrt FP16"
    assert all("INT8" in name for name in names[-2:])


def test_without_the_reference_the_others_still_race(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [
        entry(REFERENCE, "fp32", Scripted(1.0, fails="out of memory")),
        entry("one", "fp32", Scripted(1.0)),
    ]
    monkeypatch.setattr(gpu, "entries", lambda *_: iter(wanted))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, lambda line: None)
    (result,) = race.results
    assert (result.name, result.speedup, result.logit_error) == ("one", None, None)
    assert result.allocations == 3  # one in each timed turn, as its script says


def test_a_race_without_anybody_is_still_a_result(
    subject: Subject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, report: GpuReport
) -> None:
    monkeypatch.setattr(gpu, "entries", lambda *_: iter([entry("x", "fp32", Scripted(fails="no"))]))
    ceilings = measure_ceilings("cpu", side=16, copy_bytes=64, runs=1)
    race = gpu.run_race(subject, 1, ceilings, REHEARSAL, lambda line: None)
    # The first call of a fresh script fails only in its second turn: it never raced.
    assert (race.results, [absent.name for absent in race.absent]) == ((), ["x"])
    assert len(write_gpu_report(replace(report, races=(race,)), tmp_path)) == 3


@pytest.mark.parametrize(("left_s", "runs"), [(1e6, 200), (40.0, 120), (0.0, 20)])
def test_runs_fit_into_the_time_that_is_left(left_s: float, runs: int) -> None:
    first_ms = {"a": np.array([60.0, 60.0]), "b": np.array([40.0, 40.0])}
    assert affordable(200, first_ms, Deadline(left_s, clock=lambda: 0.0)) == runs
    assert affordable(5, first_ms, Deadline(0.0, clock=lambda: 0.0)) == 5


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


def test_a_command_that_measured_nothing_has_failed(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "entries", lambda *_: iter([entry("x", "fp32", Scripted(fails="no"))]))
    with pytest.raises(EngineError, match="nobody could race"):
        run_command(monkeypatch, work=work)
    assert "* x: " in capsys.readouterr().out  # the report, which says why


@pytest.mark.parametrize(
    "option",
    [("--limit", "inf"), ("--limit", "1e300"), ("--batch", "9999999"), ("--runs", "9" * 30)],
)
def test_numbers_beyond_all_measure_are_refused(
    option: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ckd-bench", "gpu", "--device", "cpu", *option])
    with pytest.raises(SystemExit) as ended:
        console.run(cli)
    assert (ended.value.code, option[0] in capsys.readouterr().err) == (2, True)


def test_a_folder_that_cannot_be_written_is_known_before_the_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(gpu, "measure_gpu", lambda *_, **__: pytest.fail("raced"))
    for option in ("work", "results"):
        with pytest.raises(UsageError, match="cannot write results there"):
            run_command(monkeypatch, **{option: tmp_path / "file"})


def test_a_terminated_race_ends_as_by_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its temporary folders go: `gpu.sh` ends it so when the time is up."""
    ended: list[Any] = []
    monkeypatch.setattr(
        "ckd.benchmarks.cli.cli", lambda: ended.append(signal.getsignal(signal.SIGTERM))
    )
    before = signal.getsignal(signal.SIGTERM)
    try:
        main()
    finally:
        signal.signal(signal.SIGTERM, before)
    (handler,) = ended
    with pytest.raises(KeyboardInterrupt):
        handler(signal.SIGTERM, None)


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

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ckd.benchmarks import measure
from ckd.benchmarks.machine import Activity, conditions, machine, public_command
from ckd.benchmarks.measure import (
    fresh_process,
    interleaved,
    latency_from_samples,
    paired_ratio,
    peak_memory_mb,
)
from ckd.contract.errors import EngineError, UsageError


class FakeTime:
    """A clock that moves only when a step or a rest says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.rests_s: list[float] = []

    def perf_counter(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.rests_s.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake = FakeTime()
    monkeypatch.setattr(measure, "time", SimpleNamespace(**{
        "perf_counter": fake.perf_counter, "sleep": fake.sleep,
    }))  # fmt: skip
    return fake


def test_percentiles_are_those_of_the_samples() -> None:
    latency = latency_from_samples(np.arange(101.0), warmup=7)

    assert (latency.runs, latency.warmup) == (101, 7)
    assert (latency.p50_ms, latency.p90_ms, latency.p99_ms) == (50.0, 90.0, 99.0)
    assert (latency.min_ms, latency.mean_ms) == (0.0, 50.0)


def test_contenders_take_turns_call_by_call(clock: FakeTime) -> None:
    calls: list[str] = []
    told: list[tuple[int, int]] = []
    steps = {name: lambda name=name: calls.append(name) for name in "ABC"}

    samples = interleaved(
        steps, warmup=1, runs=2, progress=lambda done, total: told.append((done, total))
    )

    assert calls == list("ABC" * 3)
    assert {name: len(taken) for name, taken in samples.items()} == {"A": 2, "B": 2, "C": 2}
    assert told == [(done, 9) for done in range(1, 10)]


def test_neither_warmup_nor_rest_is_counted(clock: FakeTime) -> None:
    durations_s = iter([9.0, 0.001, 0.003])  # the first call pays for initialisation

    def step() -> None:
        clock.now_s += next(durations_s)

    samples = interleaved({"step": step}, warmup=1, runs=2, rest_s=0.5)

    np.testing.assert_allclose(samples["step"], [1.0, 3.0])
    assert clock.rests_s == [0.5] * 3


def test_a_single_step_is_measured_without_rest(clock: FakeTime) -> None:
    def step() -> None:
        clock.now_s += 0.002

    latency = measure.measure(step, warmup=3, runs=5)

    assert (latency.runs, latency.warmup, clock.rests_s) == (5, 3, [])
    assert latency.p50_ms == pytest.approx(2.0)


def test_drift_that_hits_both_leaves_the_ratio_alone() -> None:
    drift = np.linspace(1.0, 5.0, 50)

    ratio = paired_ratio(30.0 * drift, 10.0 * drift)

    assert (ratio.median, ratio.p10, ratio.p90) == pytest.approx((3.0, 3.0, 3.0))


@pytest.mark.parametrize(("warmup", "runs"), [(0, 0), (-1, 5)])
def test_counts_that_measure_nothing_are_refused(warmup: int, runs: int) -> None:
    with pytest.raises(UsageError, match="expected at least"):
        interleaved({"step": lambda: None}, warmup=warmup, runs=runs)


def test_a_fresh_process_does_not_inherit_the_peak_of_this_one() -> None:
    ballast = np.ones(200 << 20, np.uint8)

    use = fresh_process([sys.executable, "-S", "-c", "print('done')"])

    assert peak_memory_mb() > ballast.nbytes / 2**20
    assert use.peak_mb < 100
    assert use.output == "done\n"


def test_a_process_and_its_parent_agree_on_its_peak() -> None:
    code = (
        "from ckd.benchmarks.measure import peak_memory_mb; "
        "ballast = bytearray(b'x') * (150 << 20); print(peak_memory_mb())"
    )

    use = fresh_process([sys.executable, "-c", code])

    # The interpreter's end may still touch a page or two.
    assert use.peak_mb == pytest.approx(float(use.output), abs=2.0)
    assert use.peak_mb > 150


def test_a_process_that_fails_is_quoted() -> None:
    with pytest.raises(EngineError, match=r"exit code 3: no such lesion"):
        fresh_process(
            [
                sys.executable,
                "-c",
                "import sys; print('no such lesion', file=sys.stderr); sys.exit(3)",
            ]
        )


def test_an_interrupted_measurement_takes_its_process_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "pid"

    def interrupted(process: object) -> None:
        while not told.exists() or not told.read_text():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    code = "import os, pathlib, sys, time; "
    code += "pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        fresh_process([sys.executable, "-c", code, str(told)])
    stat = Path(f"/proc/{told.read_text()}/stat")
    for _ in range(500):  # the kernel ends it, and nobody has to wait for it
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    pytest.fail("the measured process goes on")


def test_what_others_used_is_what_this_process_did_not() -> None:
    before = Activity(load=0.5, clock_s=100.0, busy_s=1000.0, stolen_s=3.0, own_s=20.0)
    after = Activity(load=1.5, clock_s=110.0, busy_s=1018.0, stolen_s=4.0, own_s=33.0)

    during = conditions(before, after, "ckd-bench latency")

    assert (during.load_before, during.load_after, during.duration_s) == (0.5, 1.5, 10.0)
    assert (during.other_cores, during.stolen_cores) == (0.5, 0.1)


def test_the_machine_is_described_by_what_it_can_do() -> None:
    described = machine()

    assert described.cpu
    assert described.cores >= 1
    assert described.memory_gb > 0
    assert described.versions.keys() >= {"ckd", "numpy", "onnxruntime"}


def test_a_published_command_names_no_folders() -> None:
    arguments = ["latency", "--run", "/home/someone/run-7", "--out=/data/results", "--runs", "9"]

    assert public_command("ckd-bench", arguments) == (
        "ckd-bench latency --run run-7 --out=results --runs 9"
    )

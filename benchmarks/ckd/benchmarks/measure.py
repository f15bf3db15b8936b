"""Repeatable measurements of the time of steps and the memory of processes.

A single timing says little on a shared machine: clock rates and other load drift by more than the
contenders differ. So contenders take turns call by call, and two of them are compared by the ratios
of neighbouring calls, not by two averages.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import EngineError, UsageError
from ckd.contract.parsing import parse_json

if TYPE_CHECKING:  # the processes whose memory is measured import this file, and need no console
    from ckd.console import Progress

#: The time of every call is kept in memory, so there is a limit.
MOST_RUNS: Final = 1_000_000

Name = TypeVar("Name", bound=str)

#: Pause before each call of a comparison. Threads of a pool go on spinning for a while after their
#: work is done (libgomp for some 10 ms) and would take the cores from the next contender.
REST_S: Final = 0.02

# On Linux a process inherits the peak memory of the one that started it, through fork and exec:
# started by a process of 600 MB, `python -c pass` seems to need 600 MB. A small process in between
# avoids that.
_WATCHER: Final = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
output = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
wall_ms = 1e3 * (time.perf_counter() - start)
print(json.dumps([os.waitstatus_to_exitcode(status), wall_ms, usage.ru_maxrss / 1024,
                  output.decode(errors="replace")]))
"""


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall time of one step over ``runs`` timed calls, after ``warmup`` calls that do not count."""

    runs: int
    warmup: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    min_ms: float
    mean_ms: float


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of the ratios of calls made in the same turn, and where 10% and 90% of them lie."""

    median: float
    p10: float
    p90: float


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """Time and memory of a process from its start to its end, and its output."""

    wall_ms: float
    peak_mb: float  # resident memory, MiB
    output: str


def measure(step: Callable[[], object], *, warmup: int = 20, runs: int = 200) -> Latency:
    """Time ``step``, which must return only when its device is idle."""
    samples_ms = interleaved({"step": step}, warmup=warmup, runs=runs, rest_s=0.0)["step"]
    return latency_from_samples(samples_ms, warmup)


def interleaved(
    steps: Mapping[Name, Callable[[], object]],
    *,
    warmup: int,
    runs: int,
    rest_s: float = REST_S,
    progress: "Progress | None" = None,
) -> dict[Name, NDArray[np.float64]]:
    """Time several steps that take turns: A B C A B C ..., so that drift hits all alike.

    Each call finds the caches as the other steps left them, as in an application that does other
    work between two images.

    Args:
        steps: by name; each must return only when its device is idle.
        warmup: turns that do not count.
        runs: turns that count.
        rest_s: pause before each call, see `REST_S`.
        progress: told after every call.

    Returns:
        Milliseconds of the timed calls by name; equal index, same turn.
    """
    if runs < 1 or warmup < 0:
        raise UsageError(f"{runs} runs after {warmup} for warm-up; expected at least 1 and 0")
    taken_ms = {name: np.empty(warmup + runs) for name in steps}
    total, done = (warmup + runs) * len(steps), 0
    for turn in range(warmup + runs):
        for name, step in steps.items():
            if rest_s:
                time.sleep(rest_s)
            start = time.perf_counter()
            step()
            taken_ms[name][turn] = 1e3 * (time.perf_counter() - start)
            done += 1
            if progress is not None:
                progress(done, total)
    return {name: samples_ms[warmup:] for name, samples_ms in taken_ms.items()}


def latency_from_samples(samples_ms: Sequence[float] | NDArray[np.float64], warmup: int) -> Latency:
    """Percentiles (interpolated linearly) of timed calls."""
    samples = np.asarray(samples_ms, np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(samples, [50, 90, 99]))
    return Latency(len(samples), warmup, p50, p90, p99, float(samples.min()), float(samples.mean()))


def paired_ratio(
    above_ms: Sequence[float] | NDArray[np.float64], below_ms: Sequence[float] | NDArray[np.float64]
) -> Ratio:
    """``above_ms`` over ``below_ms``, turn by turn."""
    ratios = np.asarray(above_ms, np.float64) / np.asarray(below_ms, np.float64)
    p10, p50, p90 = (float(value) for value in np.percentile(ratios, [10, 50, 90]))
    return Ratio(p50, p10, p90)


def peak_memory_mb() -> float:
    """The peak of this process's resident memory since its program started, in MiB."""
    return _status_mb("VmHWM")


def file_pages_mb() -> float:
    """Resident pages of files (libraries, mapped engines), in MiB.

    The kernel reclaims them when memory is short.
    """
    return _status_mb("RssFile")


def _status_mb(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise EngineError(f"/proc/self/status has no {field}; memory is measured on Linux only")


def fresh_process(command: Sequence[str]) -> ProcessUse:
    """Run a command as a new process and measure all of it: start-up, work, end.

    Raises:
        EngineError: the command failed; its last line on stderr is quoted.
    """
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCHER, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that both processes can be ended as one
    ) as watcher:
        try:
            said, complaints = watcher.communicate()
        except BaseException:
            os.killpg(watcher.pid, signal.SIGKILL)
            raise
    exit_code, wall_ms, peak_mb, output = (
        parse_json(said) if watcher.returncode == 0 else (1, 0.0, 0.0, "")
    )
    if exit_code != 0:
        last = (complaints.strip().splitlines() or ["it printed nothing"])[-1]
        raise EngineError(f"a measured process ended with exit code {exit_code}: {last}")
    return ProcessUse(wall_ms, peak_mb, output)

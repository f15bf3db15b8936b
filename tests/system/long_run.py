"""What the long runs share: their options, the memory of a process, and the record of a run."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ckd.contract.version import ckd_version
from ckd.runtime.cpu import cpu_name, usable_cores

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "tests" / "assets" / "tiny_bundle"
CKD_RUN = (sys.executable, "-m", "ckd.runtime.cli")

#: What a run counted, for its record.
Counts = dict[str, object]
#: Called with minutes and an empty folder; raises AssertionError if anything is wrong.
LongRun = Callable[..., Counts]


def command_line(run: LongRun, **own: int | str | tuple[str, ...]) -> None:
    """The command of a long run: `--minutes N`, `--record FILE`, and the run's own options.

    Args:
        run: what is run.
        own: name and default of each; of one that has choices, all of them, the default first.
    """
    parser = argparse.ArgumentParser(description=sys.modules[run.__module__].__doc__)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--record", type=Path, help="write the counts to this JSON file")
    for name, default in own.items():
        choices = default if isinstance(default, tuple) else None
        default = choices[0] if choices else default
        parser.add_argument(f"--{name}", type=type(default), default=default, choices=choices)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CKD_CACHE"] = str(Path(folder) / "cache")
        work = Path(folder) / "work"
        work.mkdir()
        began_s = time.monotonic()
        counts = run(options.minutes, work, **{name: getattr(options, name) for name in own})
        minutes = (time.monotonic() - began_s) / 60
    record = {
        "command": " ".join(
            [f"tests/system/{Path(sys.argv[0]).name} --minutes {options.minutes:g}"]
            + [f"--{name} {getattr(options, name)}" for name in own if getattr(options, name) != ""]
        ),
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "ckd": ckd_version(),
        "machine": {
            "cpu": cpu_name(),
            "cores": usable_cores(),
            "system": platform.system(),
            "python": platform.python_version(),
        },
        "minutes": options.minutes,
        "minutes_with_checks": round(minutes, 2),
        **counts,
    }
    text = json.dumps(record, indent=2) + "\n"
    print(text, end="")
    if options.record is not None:
        options.record.write_text(text)


@dataclass
class Footprint:
    """Memory, threads and open files of a process, sampled about once a second.

    Linux only: the numbers come from /proc.
    """

    pid: int
    #: Seconds since the first sample, memory in MiB, threads, open files.
    samples: list[tuple[float, float, int, int]] = field(default_factory=list)
    began_s: float = field(default_factory=time.monotonic)

    def sample(self) -> None:
        """Take a sample, unless the last one is younger than a second."""
        now_s = time.monotonic() - self.began_s
        if self.samples and now_s - self.samples[-1][0] < 1:
            return
        process = Path("/proc") / str(self.pid)
        try:
            threads, files = (len(list((process / name).iterdir())) for name in ("task", "fd"))
            self.samples.append((now_s, resident_mib(self.pid), threads, files))
        except (FileNotFoundError, ProcessLookupError):
            return  # the process has ended

    def check(self, max_growth_mib: float, spare: int = 2) -> Counts:
        """Compare the last quarter of the run with the second one; the first is the warm-up.

        Threads and open files that come and go may be ``spare`` more.
        """
        assert len(self.samples) >= 8, "too short a run to say anything about growth"
        quarter = len(self.samples) // 4
        second, last = self.samples[quarter : 2 * quarter], self.samples[-quarter:]
        before, after = (statistics.median(one[1] for one in part) for part in (second, last))
        assert after - before <= max_growth_mib, f"memory grew from {before} to {after} MiB"
        for column, name in ((2, "threads"), (3, "open files")):
            most_before, most = (max(one[column] for one in part) for part in (second, last))
            assert most <= most_before + spare, f"{name} grew from {most_before} to {most}"
        return {
            "memory_mib": {
                "second_quarter": round(before, 1),
                "last_quarter": round(after, 1),
                "most": round(max(one[1] for one in self.samples), 1),
            },
            "threads": max(one[2] for one in self.samples),
            "open_files": max(one[3] for one in self.samples),
        }


def watched(command: list[str], folder: Path) -> tuple[Footprint, int, int, str]:
    """Run `ckd-run camera --json` to its end, which is that of its time.

    Returns:
        Its footprint, the number of its answers, the index of the last frame, and its last words.
    """
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    messages: list[str] = []
    listener = threading.Thread(target=messages.extend, args=(process.stderr,))
    listener.start()
    footprint, num_analysed, last = Footprint(process.pid), 0, -1
    try:
        for line in process.stdout:
            index = int(json.loads(line)["image"].rpartition("#")[2])
            assert index > last, f"frame {index} came after frame {last}"
            num_analysed, last = num_analysed + 1, index
            footprint.sample()
        process.wait(timeout=120)
    finally:
        process.kill()
        process.wait()
        listener.join()
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 0, "".join(messages)[-2000:]
    said = next(line.strip() for line in messages if line.startswith("duration: "))
    return footprint, num_analysed, last, said


def resident_mib(pid: int, key: str = "VmRSS") -> float:
    """Resident memory of a process in MiB; with `VmHWM` the most that it ever had."""
    for line in (Path("/proc") / str(pid) / "status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)  # a zombie has no memory

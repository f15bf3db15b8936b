"""The machine that a measurement was made on, and its other load meanwhile.

A number cannot be judged without this. Names of hosts, users and folders are left out, so that a
result can be published as it is.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path, PurePath
from typing import Final

from ckd.contract.version import ckd_version
from ckd.runtime.cpu import cpu_flags, cpu_name, usable_cores

#: Instructions that decide how fast a convolution or matrix product can be.
FLAGS: Final = (
    "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve",
)  # fmt: skip
PACKAGES: Final = (
    "numpy", "opencv-python-headless", "opencv-python", "pillow",
    "onnxruntime", "onnxruntime-gpu", "openvino", "nncf", "torch", "triton",
    "tensorrt", "tensorrt-cu13", "cuda-bindings",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Hardware and software, without anything that names the owner.

    ``cores`` are those this process may use, ``governor`` is the CPU's frequency policy where the
    system tells it.
    """

    cpu: str
    cores: int
    cpu_flags: tuple[str, ...]
    virtual: bool
    governor: str | None
    memory_gb: float
    system: str
    python: str
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Activity:
    """Counters of the whole machine at one moment; see `conditions`."""

    load: float  # runnable processes, average of the last minute
    clock_s: float
    busy_s: float  # CPU time of all processes since boot
    stolen_s: float  # CPU time that a hypervisor gave to others
    own_s: float  # CPU time of this process and of its children that have ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """When and how a measurement was made, and what disturbed it.

    ``other_cores`` and ``stolen_cores`` are averages over the measurement: CPU cores that other
    processes of the machine used, and that its hypervisor withheld. Well above 0 they spoil the
    result: threads that wait for one another lose more than those that do not.
    """

    date: str
    command: str
    duration_s: float
    load_before: float
    load_after: float
    other_cores: float
    stolen_cores: float


def machine() -> Machine:
    """Describe this machine."""
    present = cpu_flags()
    return Machine(
        cpu=cpu_name(),
        cores=usable_cores(),
        cpu_flags=tuple(flag for flag in FLAGS if flag in present),
        virtual="hypervisor" in present,
        governor=_governor(),
        memory_gb=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        system=_system(),
        python=platform.python_version(),
        versions=_versions(),
    )


def activity() -> Activity:
    """Read the counters now."""
    # user nice system idle iowait irq softirq steal
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    own = os.times()
    return Activity(
        load=os.getloadavg()[0],
        clock_s=time.monotonic(),
        busy_s=tick_s * (sum(ticks[:3]) + sum(ticks[5:7])),
        stolen_s=tick_s * ticks[7],
        own_s=own.user + own.system + own.children_user + own.children_system,
    )


def conditions(before: Activity, after: Activity, command: str) -> Conditions:
    """The load of the machine between two readings of the counters."""
    elapsed_s = max(after.clock_s - before.clock_s, 1e-3)
    others_s = (after.busy_s - before.busy_s) - (after.own_s - before.own_s)
    return Conditions(
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        duration_s=round(elapsed_s, 1),
        load_before=round(before.load, 2),
        load_after=round(after.load, 2),
        other_cores=round(max(others_s / elapsed_s, 0.0), 2),
        stolen_cores=round((after.stolen_s - before.stolen_s) / elapsed_s, 2),
    )


def public_command(program: str, arguments: Sequence[str]) -> str:
    """A command line that can be published, with only the last part of every path."""
    return " ".join([program, *map(_without_folders, arguments)])


def _without_folders(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if argument.startswith("-") and equals:
        return f"{option}={PurePath(value).name if '/' in value else value}"
    return PurePath(argument).name if "/" in argument else argument


def _system() -> str:
    # The part of a kernel release after the first dash often names its builder.
    kernel = f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except (OSError, KeyError):
        return kernel


def _versions() -> dict[str, str]:
    versions = {"ckd": ckd_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _governor() -> str | None:
    try:
        return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()
    except OSError:
        return None

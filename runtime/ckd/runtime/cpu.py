"""What processor this is, as far as it decides how fast a network runs; Linux tells, others not."""

import os
import platform
from pathlib import Path
from typing import Final

#: Instructions that multiply 8-bit numbers four at a time and add them in 32 bits.
_INT8_FLAGS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")


def cpu_name() -> str:
    """The processor's name, or the board's on ARM, whose cores have none."""
    found = _cpuinfo()
    if "model name" not in found:
        return _board() or platform.processor() or platform.machine() or "unknown processor"
    name = found["model name"]
    if "cpu family" in found and "model" in found:  # clouds blank the name's number
        name += f" (family {found['cpu family']}, model {found['model']})"
    return name


def cpu_flags() -> frozenset[str]:
    """The instruction sets it has, by the names that Linux gives them; empty where not told."""
    found = _cpuinfo()
    return frozenset(f"{found.get('flags', '')} {found.get('Features', '')}".split())


def lacks_int8_instructions() -> bool:
    """Whether INT8 convolutions run without instructions of their own here.

    They are slow then, and x86 before VNNI adds products pairwise in 16 bits, which can saturate.
    """
    flags = cpu_flags()
    return bool(flags) and not flags.intersection(_INT8_FLAGS)


def _cpuinfo() -> dict[str, str]:
    """The first core's entries of /proc/cpuinfo."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    entries = (line.partition(":") for line in text.split("\n\n", 1)[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in entries}


def _board() -> str | None:
    try:
        return Path("/proc/device-tree/model").read_text().strip("\0\n ") or None
    except OSError:
        return None


def usable_cores() -> int:
    """Cores this process may run on, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

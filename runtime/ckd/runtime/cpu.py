"""Facts about the processor that decide how fast networks run; only Linux gives all of them."""

import os
import platform
import re
from pathlib import Path
from typing import Final

#: Instruction sets that multiply four pairs of 8-bit numbers and add the products in 32 bits.
_INT8_FLAGS: Final = ("avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
#: Names of instruction sets that a kernel may be chosen by; the other flags change with the system,
#: and no kernel does. ("smep" of x86 is about memory, "sme" of ARM about matrices.)
_KERNEL_FLAG: Final = re.compile(r"(s?sse|avx|amx|fma|f16c|asimd|fphp|i8mm|bf16|sve|sme(?!p$)).*")


def cpu_name() -> str:
    """The processor's name; on ARM, whose cores have none, the name of the board."""
    entries = _cpuinfo()
    if "model name" not in entries:
        return _board() or platform.processor() or platform.machine() or "unknown processor"
    name = entries["model name"]
    if "cpu family" in entries and "model" in entries:  # clouds remove the number from the name
        name += f" (family {entries['cpu family']}, model {entries['model']})"
    return name


def cpu_flags() -> frozenset[str]:
    """The processor's instruction sets by their names in Linux; empty if they are not known."""
    entries = _cpuinfo()
    return frozenset(f"{entries.get('flags', '')} {entries.get('Features', '')}".split())


def kernel_instructions() -> str:
    """The instruction sets by which kernels are chosen, as a text; empty if they are not known."""
    return " ".join(sorted(flag for flag in cpu_flags() if _KERNEL_FLAG.fullmatch(flag)))


def lacks_int8_instructions() -> bool:
    """True if the processor is known to have no instructions for INT8 convolutions.

    They are slow then, and x86 without VNNI adds products pairwise in 16 bits, which can saturate.
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
    """Number of cores that this process may use; in a container there may be more cores."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""Options that several commands share: which cascade to load, and how to run it."""

import math
import re
from pathlib import Path
from typing import Annotated, Final

import typer

from ckd.contract.errors import UsageError

#: More than any machine has cores. Engines start as many threads as they are told to, and hang
#: when told to start a hundred thousand.
MOST_THREADS: Final = 1024

_UNITS: Final = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?([MGT]B)", re.IGNORECASE)


def finite(value: float | None) -> float | None:
    """The callback of every option that takes a number: bounds let "nan" pass, and "inf"."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number.")
    return value


BundlePath = Annotated[
    Path | None,
    typer.Option(
        "--bundle", envvar="CKD_BUNDLE", help="Bundle folder or zip; default: the embedded one."
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        "--backend",
        envvar="CKD_BACKEND",
        help="auto (on a GPU tensorrt, else the fastest here, measured once), onnxruntime, "
        "openvino or tensorrt.",
    ),
]
DeviceName = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="CKD_DEVICE",
        help="auto (a GPU if there is one, and TensorRT), cpu, cuda or cuda:N.",
    ),
]
PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        envvar="CKD_PRECISION",
        help="auto (fp32), int8 or fp16 (onnxruntime, tensorrt) if the bundle has it; bf16 or "
        "int8-bf16 (openvino).",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        envvar="CKD_THREADS",
        min=1,
        max=MOST_THREADS,
        help="CPU threads; default: all usable cores.",
    ),
]
OperatingPointName = Annotated[
    str | None,
    typer.Option(
        "--operating-point",
        envvar="CKD_OPERATING_POINT",
        metavar="NAME",
        help="What is flagged: screening (misses least), balanced, or specific (fewest false "
        "alarms); default: the bundle's. A referral may be suggested for other reasons.",
    ),
]
Prevalence = Annotated[
    list[str] | None,
    typer.Option(
        "--prevalence",
        envvar="CKD_PREVALENCE",
        metavar="LABEL=P",
        help="How frequent a label is here, as in MEL=0.02; repeatable. Moves percentages and no "
        "decision.",
    ),
]
MinFree = Annotated[
    str,
    typer.Option(
        "--min-free",
        metavar="SIZE",
        help="A recording ends when less is free on its disk, and a journal drops its oldest "
        "seconds; as in 500MB or 2GB.",
    ),
]
NoNames = Annotated[
    bool,
    typer.Option(
        "--no-names",
        help="Show and write number and hash of an input in place of its name, which may be that "
        "of a patient.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per result.")]


def bytes_of(option: str, text: str) -> int:
    """Bytes that the text of an option names, such as "500MB" or "2 GB"; units are decimal.

    Raises:
        UsageError: the text is of another form.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: expected a size in MB, GB or TB, as in 500MB or 2GB")
    return round(float(match[1]) * _UNITS[match[2].upper()])


def fold_of(text: str | None) -> tuple[int, int] | None:
    """The fold that ``--fold K/N`` names, counted from 0, and their number; None without one.

    Raises:
        UsageError: the text is of another form, or there is no such fold.
    """
    if text is None:
        return None
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and int(of) > max(int(number), 1)):
        raise UsageError(f"--fold {text}: expected K/N with K from 0 to N - 1, as in 0/3")
    return int(number), int(of)


def prevalence_of(texts: list[str] | None) -> dict[str, float]:
    """The shares that ``--prevalence LABEL=P`` names, by label; empty without any.

    Raises:
        UsageError: a text is of another form, a share is not between 0 and 1, or a label is named
            twice.
    """
    shares: dict[str, float] = {}
    for text in texts or ():
        label, _, number = text.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not (label and 0 < share < 1):
            raise UsageError(
                f"--prevalence {text}: expected LABEL=P with P between 0 and 1, as in MEL=0.02"
            )
        if label in shares:
            raise UsageError(f"--prevalence names {label} twice; give each label once")
        shares[label] = share
    return shares

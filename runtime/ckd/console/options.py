"""Options that several commands share: which cascade to load, and how to run it."""

from pathlib import Path
from typing import Annotated, Final

import typer

from ckd.contract.errors import UsageError

#: More than any machine has cores. Engines start as many threads as they are told to, and hang
#: when told to start a hundred thousand.
MOST_THREADS: Final = 1024

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
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per result.")]


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

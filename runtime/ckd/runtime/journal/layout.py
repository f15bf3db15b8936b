"""How journals lie on disk: a folder for each run, in it a header and segments.

    DIR/
        000001_20260131-081500_5c1f90a2/    number of the run, start in UTC, random digits
            journal.json                    the header
            segment-00000000.zip            what was recorded in less than a second
            segment-00000001.zip

Runs are never mixed: each has a folder of its own, also if two begin in one second. They are
numbered, so that their order is right where a device has no clock and begins in 1970 each time.
"""

import re
import secrets
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

from ckd.contract.disk import sync_folder
from ckd.contract.errors import UsageError
from ckd.contract.leftovers import WRITING

#: Of header and segments. A change that older readers would misread raises it; further keys do not.
SCHEMA: Final = 1
HEADER: Final = "journal.json"
#: Of a segment: one JSON object in each line.
LINES: Final = "lines.jsonl"
#: How long frames are gathered. Shorter than a second by the time that writing them may take.
SEGMENT_S: Final = 0.8
#: A segment of large photographs ends before its time.
FULL_BYTES: Final = 64 << 20
#: No reader takes more into memory; a segment is ended long before.
MAX_SEGMENT_BYTES: Final = 256 << 20
MAX_HEADER_BYTES: Final = 1 << 20

_RUN: Final = re.compile(r"(\d{6,9})_\d{8}-\d{6}_[0-9a-f]{8}")
_SEGMENT: Final = re.compile(r"segment-(\d{8})\.zip")


def segment_name(number: int) -> str:
    """File name of a segment; the first of a run has number 0."""
    return f"segment-{number:08d}.zip"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name; None for any other name."""
    match = _SEGMENT.fullmatch(name)
    return None if match is None else int(match[1])


def runs_in(folder: Path) -> list[Path]:
    """The folders of runs below a journal's folder, the oldest first; none if it does not exist."""
    if not folder.is_dir():
        return []
    runs = (path for path in folder.iterdir() if _RUN.fullmatch(path.name) and path.is_dir())
    return sorted(runs, key=lambda run: (_number(run), run.name))


def segments_in(run: Path) -> list[Path]:
    """The segments of a run, the oldest first; none if the folder has gone."""
    try:
        return sorted(path for path in run.iterdir() if segment_number(path.name) is not None)
    except FileNotFoundError:  # the ring of the run that is being recorded has just removed it
        return []


def check_folder(folder: Path) -> None:
    """Raise `UsageError` if the folder of a new journal is that of a run."""
    if (folder / HEADER).exists():
        raise UsageError(
            f"{folder}: is one run of a journal; name the folder above it, or another one"
        )


def new_run(folder: Path) -> Path:
    """Make the folder of a new run; `OSError` if it cannot be made."""
    number = max(map(_number, runs_in(folder)), default=0) + 1
    started = datetime.now(timezone.utc)
    run = folder / f"{number:06d}_{started:%Y%m%d-%H%M%S}_{secrets.token_hex(4)}"
    run.mkdir(parents=True)
    sync_folder(folder)  # or a loss of power takes the whole run
    return run


def remove_run(run: Path) -> None:
    """Remove the folder of a run without segments; what is not of a journal keeps it in place."""
    try:
        for path in run.iterdir():
            if path.name == HEADER or path.name.startswith(WRITING):
                path.unlink(missing_ok=True)
        run.rmdir()
    except OSError:  # another process removes it too, or somebody put a file there
        pass


def _number(run: Path) -> int:
    return int(run.name.partition("_")[0])

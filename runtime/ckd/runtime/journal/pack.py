"""One archive of a run, to report a bug with: without photographs, unless they are asked for.

What the networks saw stays in it, as nothing could be replayed without: it shows the skin too, at
a few hundred pixels.
"""

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError, UsageError
from ckd.contract.whole_file import replacing
from ckd.runtime.journal import foreign
from ckd.runtime.journal.layout import HEADER, LINES
from ckd.runtime.journal.reading import Segment, StoredRun

#: Of the header, what tells of the place: names of files and cameras may be names of people.
_PLACES: Final = ("source",)


def pack_run(
    run: StoredRun,
    out: Path,
    *,
    photographs: bool = False,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Write a run to one zip file, which `ckd-run replay` reads as it does a folder.

    Paths and the name of the source are left out of the header. Without photographs, a segment
    keeps what the networks saw, their outputs and its lines; what a later version of `ckd` may have
    added beside them is left out, because it may be a picture.

    Args:
        run: to pack.
        out: the file, which must not exist.
        photographs: keep segments as they are.
        told: how many segments are done, and of how many.

    Returns:
        A line for each segment that is damaged and was left out.

    Raises:
        UsageError: the file exists.
        OSError: it cannot be written.
    """
    if out.exists():
        raise UsageError(f"{out} exists; name another file")
    damaged = []
    with replacing(out) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER), _header(run, photographs=photographs))
        for done, segment in enumerate(run.segments(), start=1):
            if isinstance(segment, InputError):
                damaged.append(str(segment))
            else:
                try:
                    content = segment.content if photographs else _bare(segment)
                    archive.writestr(zipfile.ZipInfo(segment.name), content)
                except ValueError as error:
                    damaged.append(f"{run.name}: {segment.name} is damaged ({foreign.said(error)})")
            told(done, len(run.names))
    return damaged


def _header(run: StoredRun, *, photographs: bool) -> bytes:
    content = {key: value for key, value in run.header.content.items() if key not in _PLACES}
    content["bundle"] = {"id": run.header.bundle_id, "digest": run.header.digest}
    content["packed"] = {"photographs": photographs, "run": run.name}
    return (json.dumps(content, indent=2) + "\n").encode()


def _bare(segment: Segment) -> bytes:
    """A segment without photographs; `ValueError` if a file of it is damaged."""
    content = BytesIO()
    names = [name for frame in segment.frames for name in frame.files if name != LINES]
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        for name in dict.fromkeys(names):
            archive.writestr(zipfile.ZipInfo(name), segment.read(name))
        lines = "".join(json.dumps(_bare_line(dict(line))) + "\n" for line in segment.lines)
        archive.writestr(zipfile.ZipInfo(LINES), lines, zipfile.ZIP_DEFLATED, compresslevel=1)
    return content.getvalue()


def _bare_line(line: dict[str, Any]) -> dict[str, Any]:
    return {**line, "photograph": None} if line.get("kind") == "frame" else line

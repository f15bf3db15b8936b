"""Puts what was measured into a unit file; every other line of it stays as it is."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ckd.contract.errors import InputError, UsageError
from ckd.contract.whole_file import replace_file
from ckd.runtime.unit.chart import matrix_toml
from ckd.runtime.unit.colour import Matrix
from ckd.runtime.unit.reading import read_unit
from ckd.runtime.unit.tables import text_and_tree, tree_of

#: A line that begins a table, or one of a list of tables; no row of a matrix looks like it.
_HEADER: Final = re.compile(r"\s*\[\[?\s*[A-Za-z_][\w. -]*\]\]?\s*(#.*)?")


def put_matrix(path: Path, matrix: Matrix) -> None:
    """Put a colour matrix into a unit file, in place of the one that is there.

    Raises:
        InputError: the file is wrong, or so written that it cannot be changed safely.
        UsageError: it cannot be written to.
    """
    _put(path, "colour", {"matrix": matrix_toml(matrix)})


def put_scale(path: Path, mm_per_px: float, height: int, width: int, where: str) -> None:
    """Put a scale into a unit file, in place of the one that is there.

    Args:
        path: of the file.
        mm_per_px: the scale.
        height: of the photograph that it was measured in.
        width: likewise.
        where: name of the photograph, for messages.

    Raises:
        InputError: as `put_matrix`; or the photograph has not the size of the unit's pictures.
        UsageError: the file cannot be written to.
    """
    unit = read_unit(path)
    camera_hw = (unit.camera.height_px, unit.camera.width_px)
    if camera_hw[0] is None or camera_hw[1] is None:
        raise InputError(
            f"{path}: a scale holds for one size; add to [camera] width_px = {width} and "
            f"height_px = {height}, if that is what the camera gives"
        )
    kept_hw = unit.geometry.size_hw(camera_hw[0], camera_hw[1])
    if (height, width) not in (camera_hw, kept_hw):
        raise InputError(
            f"{where}: is {width} x {height} pixels, and the unit's pictures are {camera_hw[1]} x "
            f"{camera_hw[0]}, or {kept_hw[1]} x {kept_hw[0]} once cut; measure one of those"
        )
    _put(path, "picture", {"mm_per_px": f"{mm_per_px:.7f}"})


def put_coach(path: Path, limits: Mapping[str, float]) -> None:
    """Put limits of the capture coach into a unit file, in place of those that are there.

    Raises:
        InputError: as `put_matrix`.
        UsageError: the file cannot be written to.
    """
    _put(path, "coach", {name: repr(written_limit(limit)) for name, limit in limits.items()})


def written_limit(limit: float) -> float:
    """A limit in as many digits as a unit file keeps of it."""
    return float(f"{limit:.4g}")


def _put(path: Path, table: str, values: Mapping[str, str]) -> None:
    read_unit(path)
    changed, wanted = text_and_tree(path)
    for key, value in values.items():
        wanted.setdefault(table, {})[key] = tree_of(path, f"value = {value}")["value"]
        changed = _with_key(changed, table, key, value)
    try:
        is_as_wanted = tree_of(path, changed) == wanted
    except InputError:
        is_as_wanted = False
    if not is_as_wanted:
        raise InputError(
            f"{path}: is so written that it cannot be changed safely; put into [{table}]: "
            + "; ".join(f"{key} = {' '.join(value.split())}" for key, value in values.items())
        )
    try:
        replace_file(path.resolve(), changed.encode())  # a link stays one
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror})") from error


def _with_key(text: str, table: str, key: str, value: str) -> str:
    """The text with a key of a table set: in its place, at the table's end, or in a new table."""
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    headers = [number for number, line in enumerate(lines) if _HEADER.fullmatch(line)]
    own = [at for at in headers if re.fullmatch(rf"\s*\[\s*{table}\s*\]\s*(#.*)?", lines[at])]
    entry = f"{key} = {value}"
    if not own:
        return "\n".join([*lines, *([""] * bool(lines)), f"[{table}]", entry, ""])
    start = own[0] + 1
    end = next((at for at in headers if at >= start), len(lines))
    while end > start and not lines[end - 1].strip():
        end -= 1  # empty lines before the next table stay there
    for first in range(start, end):
        if re.match(rf"\s*{key}\s*=", lines[first]):
            last = _end_of_value(lines, first, end)
            return "\n".join([*lines[:first], entry, *lines[last:], ""])
    return "\n".join([*lines[:end], entry, *lines[end:], ""])


def _end_of_value(lines: list[str], first: int, end: int) -> int:
    """The line after a value, which for a list may be several lines long."""
    depth = 0
    for number in range(first, end):
        content = lines[number].partition("#")[0]
        depth += content.count("[") - content.count("]")
        if depth <= 0:
            return number + 1
    return end

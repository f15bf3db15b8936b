"""The one reader of unit files. `docs/unit.md` tells what each key means."""

import re
from pathlib import Path
from typing import Final

import numpy as np

from ckd.capture import CHECKS, MOST_LIMIT
from ckd.runtime.sources import CameraFormat, Locks
from ckd.runtime.unit.colour import Matrix, matrix_of
from ckd.runtime.unit.geometry import Geometry
from ckd.runtime.unit.tables import Table, is_number, text_and_tree
from ckd.runtime.unit.unit import ButtonChoice, Purpose, Unit

_LEAST_PX: Final = 16
_MOST_PX: Final = 16384
#: The determinant of a matrix that leaves three colours apart.
_LEAST_DETERMINANT: Final = 1e-3
#: Numbers of keys by name, from linux/input-event-codes.h: what handles and foot switches send.
KEYS: Final = {
    "KEY_ESC": 1, "KEY_1": 2, "KEY_A": 30, "KEY_B": 48, "KEY_C": 46, "KEY_ENTER": 28,
    "KEY_SPACE": 57, "KEY_F1": 59, "KEY_F2": 60, "KEY_F3": 61, "KEY_F12": 88, "KEY_PAGEUP": 104,
    "KEY_PAGEDOWN": 109, "KEY_VOLUMEUP": 115, "KEY_VOLUMEDOWN": 114, "KEY_CAMERA": 212,
    "BTN_LEFT": 272, "BTN_RIGHT": 273, "BTN_MIDDLE": 274,
}  # fmt: skip
_MOST_KEY: Final = 767  # KEY_MAX


def read_unit(path: Path | str) -> Unit:
    """Read a unit file.

    Raises:
        InputError: it cannot be read, is not TOML, has an unknown key, or a value that is not of
            its type or out of bounds; the message names the key.
    """
    path = Path(path)
    _, content = text_and_tree(path)
    file = Table(path, content)
    name = file.text("name") or path.stem
    source, polarised = file.text("source"), file.flag("polarised")
    camera = _camera(file.table("camera"))
    geometry, mm_per_px = _picture(file.table("picture"), camera)
    matrix = _colour(file.table("colour"))
    buttons = tuple(map(_button, file.tables("button")))
    debounce_ms = file.whole("debounce_ms", 1, 1000)
    coach = _coach(file.table("coach"))
    file.end()
    return Unit(
        path=path, name=name, source=source, camera=camera, geometry=geometry, matrix=matrix,
        mm_per_px=mm_per_px, polarised=polarised, buttons=buttons,
        debounce_ms=debounce_ms or 50, coach=coach,
    )  # fmt: skip


def _camera(table: Table) -> CameraFormat:
    camera = CameraFormat(
        width_px=table.whole("width_px", _LEAST_PX, _MOST_PX),
        height_px=table.whole("height_px", _LEAST_PX, _MOST_PX),
        fps=table.number("fps", 1, 1000),
        pixel_format=table.text("format"),
        locks=Locks(
            exposure_ms=table.number("exposure_ms", 0.1, 10_000),
            gain=table.whole("gain", 0, 1_000_000),
            white_balance_k=table.whole("white_balance_k", 1000, 20_000),
            focus=table.whole("focus", 0, 1_000_000),
        ),
    )
    table.end()
    if (camera.width_px is None) != (camera.height_px is None):
        given, missing = "width_px", "height_px"
        if camera.width_px is None:
            given, missing = missing, given
        raise table.wrong(missing, f"a whole number, because {given} is there")
    if camera.pixel_format and not re.fullmatch(r"[A-Z0-9]{4}", camera.pixel_format):
        raise table.wrong("format", 'four letters of Video for Linux, as "MJPG" or "YUYV"')
    return camera


def _picture(table: Table, camera: CameraFormat) -> tuple[Geometry, float | None]:
    field_px = table.numbers("field_px", 3, 0, _MOST_PX)
    geometry = Geometry(
        field_px=None if field_px is None else (field_px[0], field_px[1], field_px[2]),
        rotate_deg=table.choice("rotate_deg", (0, 90, 180, 270)) or 0,
        mirror=table.flag("mirror") or False,
        flip=table.flag("flip") or False,
    )
    mm_per_px = table.number("mm_per_px", 1e-5, 1)
    table.end()
    for key in ("field_px", "mm_per_px"):
        if key in table and (camera.width_px is None or camera.height_px is None):
            raise table.wrong(key, "width_px and height_px of [camera] too, for which it holds")
    if field_px is not None:
        assert camera.width_px is not None
        assert camera.height_px is not None
        if min(geometry.size_hw(camera.height_px, camera.width_px)) < _LEAST_PX:
            raise table.wrong("field_px", "[x, y, diameter] of a circle within the picture")
    return geometry, mm_per_px


def _colour(table: Table) -> Matrix | None:
    rows = table.rows("matrix")
    table.end()
    if rows is None:
        return None
    good = len(rows) == 3 and all(len(row) == 3 for row in rows)
    numbers = [value for row in rows for value in row] if good else []
    if not good or not all(is_number(value) and -10 <= value <= 10 for value in numbers):
        raise table.wrong("matrix", "three rows of three numbers from -10 to 10")
    matrix = matrix_of(rows)
    if abs(np.linalg.det(matrix)) < _LEAST_DETERMINANT:
        raise table.wrong("matrix", "three rows that leave colours apart; measure it again")
    return matrix


def _coach(table: Table) -> dict[str, float]:
    limits = {name: table.number(name, -MOST_LIMIT, MOST_LIMIT) for name in CHECKS}
    table.end()
    return {name: limit for name, limit in limits.items() if limit is not None}


def _button(table: Table) -> ButtonChoice:
    device = table.text("device") or "camera"
    name = table.choice("key", tuple(KEYS)) if "key" in table else None
    code = table.whole("code", 1, _MOST_KEY)
    does: Purpose = table.choice("does", ("capture", "polarised")) or "capture"
    table.end()
    if name is not None and code is not None:
        raise table.wrong("code", "either a key by name or a code by number")
    if device != "camera" and not device.startswith("/dev/input/"):
        raise table.wrong("device", '"camera" or a path below /dev/input, as /dev/input/by-id/...')
    return ButtonChoice(device=device, key=KEYS[name] if name else code, does=does)

"""Damage for the fuzz test: of bytes, of JSON values and of tables."""

import io
import random
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ckd.contract.errors import InputError

#: Makes the input of one case in an empty folder, and gives what reads it.
Case = Callable[[random.Random, Path], Callable[[], object]]


class Sparing(random.Random):
    """A source of chance with which nothing is damaged: the case has a sound input."""


def harms(rng: random.Random) -> bool:
    """Whether inputs are damaged with this source of chance."""
    return not isinstance(rng, Sparing)


def taken(is_taken: object, what: str) -> None:
    """Raise `InputError` for what a reader says no to without an error: it counts as refused."""
    if not is_taken:
        raise InputError(what)


def damaged(rng: random.Random, content: bytes) -> bytes:
    """Bytes with one or more places changed, cut, repeated or replaced."""
    if not harms(rng):
        return content
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        # Headers decide most, so half of the changes go there.
        limit = min(len(changed), 64) if rng.random() < 0.5 else len(changed)
        at = rng.randrange(limit + 1)
        length = rng.choice((1, 1, 1, 2, 4, 8, 64))
        match rng.randrange(6):
            case 0:
                changed[at : at + length] = rng.randbytes(length)
            case 1:
                changed[at : at + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length
            case 2 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length]
            case _:
                if rng.random() < 0.2:
                    del changed[at:]
    return bytes(changed)


def many(rng: random.Random, content: bytes, pieces: Sequence[bytes]) -> bytes:
    """Bytes with one of some pieces put in somewhere, many times over."""
    if not harms(rng):
        return content
    at, count = rng.randrange(len(content) + 1), rng.choice((70, 5000, 200_000))
    return content[:at] + rng.choice(pieces) * count + content[at:]


def odd_json(rng: random.Random, value: object) -> object:
    """A JSON value with one place somewhere in it replaced, removed or repeated."""
    if not harms(rng):
        return value
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        changed = dict(value)
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(("", "x", "../x", key + "\0", "\ud800"))] = value[key]
            case _:
                changed[key] = odd_json(rng, value[key])
        return changed
    if isinstance(value, list) and value and rng.random() < 0.9:
        items = list(value)
        at = rng.randrange(len(items))
        match rng.randrange(6):
            case 0:
                del items[at]
            case 1:
                items.append(items[at])
            case _:
                items[at] = odd_json(rng, items[at])
        return items
    odd: tuple[object, ...] = (
        None, True, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
        "", "fp32", "image", "a/../b", "\0", "\ud800", "9" * 5000, [], [[]], {}, {"a": None},
        [1, 2, 3, 4],
    )  # fmt: skip
    return rng.choice(odd)


def odd_text(rng: random.Random, text: str) -> str:
    """A table with some of its cells, separators or lines replaced."""
    if not harms(rng):
        return text
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(lines))
        cells = lines[at].split(",")
        odd = ("", "0", "1.0", "-1", "nan", "1e999", '"', '""', "a,b", "\0", "\r", "x" * 200_000,
               "../..", "/etc/passwd", "\N{SNOWMAN}", "ISIC_0000000", " ", "\t", ";")  # fmt: skip
        match rng.randrange(5):
            case 0:
                lines.insert(at, lines[at])
            case 1:
                lines[at] = ""
            case 2:
                lines[at] = rng.choice((";", "\t", "|")).join(cells)
            case _:
                cells[rng.randrange(len(cells))] = rng.choice(odd)
                lines[at] = ",".join(cells)
    return "\n".join(lines)


def packed(path: Path) -> None:
    """Pack the parts of a zip file, so that few bytes unpack to many."""
    content = io.BytesIO()
    with (
        zipfile.ZipFile(path) as parts,
        zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for part in parts.infolist():
            small.writestr(part.filename, parts.read(part))
    path.write_bytes(content.getvalue())

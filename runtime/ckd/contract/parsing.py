"""The one reader of JSON and TOML, whoever wrote the text.

What is read is bounded before it is parsed, by size and by levels, so that no text takes the memory
or the stack of the process. Numbers are finite, and no object names one key twice, of which readers
would take different ones. What the tree must look like is checked where it is used.
"""

import errno
import json
import math
import re
import stat
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Final, NoReturn

#: Arrays and objects inside one another; the deepest of our own files have ten.
MAX_LEVELS: Final = 64
MAX_JSON_BYTES: Final = 16 << 20
MAX_TOML_BYTES: Final = 256 << 10
#: The time for a dotted key of TOML grows with the square of its parts.
_MAX_TOML_LINE: Final = 2000
#: Every number of fewer digits can be made a float.
_MAX_DIGITS: Final = 300
_LONGEST_SAID: Final = 60
#: All but what opens and ends arrays and objects, where no text holds an escaped quotation mark.
_NO_MARKS: Final = re.compile(r'"[^"]*"?|[^"\[\]{}]+')
#: Where there may be half a character, which can be neither printed nor written.
_HALVES: Final = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says; bytes are UTF-8.

    Raises:
        ValueError: it is no JSON, longer than `MAX_JSON_BYTES` or deeper than `MAX_LEVELS`; or it
            holds a number that is not finite or of hundreds of digits, one key twice, or half a
            character. The message is one line.
    """
    if len(text) > MAX_JSON_BYTES:
        raise ValueError(f"is over {MAX_JSON_BYTES / 1e6:.2g} MB long")
    if isinstance(text, bytes):
        text = _decoded(text)
    _check_levels(text)
    tree = json.loads(
        text,
        object_pairs_hook=_distinct,
        parse_float=_finite,
        parse_int=_whole,
        parse_constant=_refuse,
    )
    if _HALVES.search(text):
        try:
            json.dumps(tree, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("holds half a character") from None
    return tree


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is no such file, see `parse_json`.
    """
    return parse_json(_bounded(path, MAX_JSON_BYTES))


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says.

    Raises:
        ValueError: it is no TOML, longer than `MAX_TOML_BYTES` or deeper than `MAX_LEVELS`; or it
            holds a number that is not finite or beyond 64 bits. The message is one line.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    if len(text) > MAX_TOML_BYTES:
        raise ValueError(f"is over {MAX_TOML_BYTES / 1e6:.2g} MB long")
    if max(map(len, text.split("\n"))) > _MAX_TOML_LINE:
        raise ValueError(f"has a line of over {_MAX_TOML_LINE} characters")
    try:
        tree = tomllib.loads(text, parse_float=_finite)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_tree(tree)
    return tree


def read_toml(path: Path) -> dict[str, Any]:
    """What a TOML file says.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is no such file, see `parse_toml`.
    """
    return parse_toml(toml_text(path))


def toml_text(path: Path) -> str:
    """The text of a TOML file.

    Raises:
        OSError: it cannot be read, or is no file.
        ValueError: it is too long, or no text in UTF-8.
    """
    return _decoded(_bounded(path, MAX_TOML_BYTES))


def _bounded(path: Path, most_bytes: int) -> bytes:
    known = path.stat()
    if not stat.S_ISREG(known.st_mode):  # of a pipe or device no end may come
        raise OSError(errno.EINVAL, "is no file")
    with path.open("rb") as file:
        content = file.read(min(most_bytes, known.st_size) + 1)
    if len(content) > most_bytes:
        raise ValueError(f"is over {most_bytes / 1e6:.2g} MB long")
    return content


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None


_TOO_DEEP: Final = f"has over {MAX_LEVELS} levels"


def _check_levels(text: str) -> None:
    """Before it is parsed, which takes the stack of the process."""
    if text.count("[") + text.count("{") <= MAX_LEVELS:
        return
    without_escapes = text.replace("\\\\", "").replace('\\"', "")
    level = 0
    for mark in _NO_MARKS.sub("", without_escapes):
        level += 1 if mark in "[{" else -1
        if level > MAX_LEVELS:
            raise ValueError(_TOO_DEEP)


def _check_tree(tree: dict[str, Any]) -> None:
    """Of TOML, where a key of many parts makes levels too."""
    level: list[Any] = [tree]
    for _ in range(MAX_LEVELS + 1):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, int) and not -(2**63) <= value < 2**63:
                raise ValueError("holds a whole number beyond 64 bits")
        level = inner
    if level:
        raise ValueError(_TOO_DEEP)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{_shown(name)} is there twice")
    return content


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_shown(text)} is no finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits, expected {_MAX_DIGITS} at most")
    return int(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no finite number")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}...")

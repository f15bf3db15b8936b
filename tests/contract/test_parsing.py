"""JSON and TOML of anybody: read, or refused in one line, at bounded cost."""

import json
import os
import re
import sys
import threading
from pathlib import Path

import pytest

from ckd.contract.parsing import (
    MAX_JSON_BYTES,
    MAX_LEVELS,
    MAX_TOML_BYTES,
    parse_json,
    parse_toml,
    read_json,
    read_toml,
)

REFUSED_JSON: dict[str, tuple[str | bytes, str]] = {
    "arrays": ("[" * 100_000, "has over 64 levels"),
    "objects": ('{"a":' * 100_000, "has over 64 levels"),
    "closed again": ("[" * 65 + "]" * 65, "has over 64 levels"),
    "after a quoted mark": (r'["\"]]]]", ' + "[" * 100, "has over 64 levels"),
    "digits": ("1" * 100_000, "a number has 100000 digits, expected 300 at most"),
    "digits in an exponent": ("1e400", "'1e400' is no finite number"),
    "NaN": ('{"a": NaN}', "NaN is no finite number"),
    "infinity": ("[-Infinity]", "-Infinity is no finite number"),
    "a key twice": ('{"a": 1, "b": 2, "a": 3}', "'a' is there twice"),
    "a long key twice": ('{"%s": 1, "%s": 2}' % (("x" * 10**6,) * 2), "xxx...' is there twice"),
    "half a character": ('["\\ud800"]', "holds half a character"),
    "half a character in a key": ('{"\\udc00\\ud800": 1}', "holds half a character"),
    "no text": (b'"\xff"', "is no text in UTF-8"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "is no text in UTF-8"),
    "nothing": ("", "Expecting value"),
    "two values": ("1 2", "Extra data"),
    "too long": (" " * (MAX_JSON_BYTES + 1), "is over 17 MB long"),
}
REFUSED_TOML: dict[str, tuple[str, str]] = {
    "arrays": ("a = " + "[" * 1500, "has over 64 levels"),
    "arrays in lines": ("a = " + "[\n" * 50_000, "has over 64 levels"),
    "tables": ("a = " + "{a=" * 500, "has over 64 levels"),
    "a key of many parts": (f"{'.'.join('a' * 100)} = 1", "has over 64 levels"),
    "a line of dots": ("a." * 100_000 + "a = 1", "has a line of over 2000 characters"),
    "keys of many parts": (
        "a = " + "{a.a.a.a.a.a.a.a.a.a = " * 40 + "1" + "}" * 40, "has over 64 levels"
    ),
    "digits": ("a = " + "1" * 1900, "holds a whole number beyond 64 bits"),
    "nan": ("a = nan", "'nan' is no finite number"),
    "infinity in a list": ("a = [1.5, -inf]", "'-inf' is no finite number"),
    "a large exponent": ("a = 1e400", "'1e400' is no finite number"),
    "no TOML": ("a = ", "Invalid value"),
    "too long": ("#\n" * MAX_TOML_BYTES, "is over 0.26 MB long"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_JSON)
def test_json_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, message = REFUSED_JSON[case]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    path = tmp_path / "file.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=re.escape(message)):
        read_json(path)


@pytest.mark.parametrize("case", REFUSED_TOML)
def test_toml_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    text, message = REFUSED_TOML[case]
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_toml(text)
    assert "\n" not in str(caught.value)
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_toml(path)


def test_what_is_within_the_limits_is_read(tmp_path: Path) -> None:
    deep = "[" * MAX_LEVELS + "1" + "]" * MAX_LEVELS
    assert json.dumps(parse_json(deep)) == deep
    many = [{"a": ["[[[", "\\", '"', 10**200, -1.5e300]}] * 1000
    assert parse_json(json.dumps(many)) == many
    assert parse_json(b'["\\ud83d\\ude00"]') == ["\N{GRINNING FACE}"]
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]
    assert parse_toml("a.b = [1, 2.5]\n[[c]]\nd = 'x'") == {"a": {"b": [1, 2.5]}, "c": [{"d": "x"}]}
    path = tmp_path / "file.json"
    path.write_text("[1]")
    assert read_json(path) == [1]


def test_levels_do_not_depend_on_the_stack_that_is_left() -> None:
    """Nor on a limit that an application has raised, where the parser would overflow the stack."""
    caught: list[Exception] = []

    def parse() -> None:
        try:
            parse_json("[" * 10**6)
        except Exception as error:
            caught.append(error)

    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    try:
        thread = threading.Thread(target=parse)
        thread.start()
        thread.join()
    finally:
        sys.setrecursionlimit(before)
    assert [str(error) for error in caught] == ["has over 64 levels"]


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        for read in (read_json, read_toml):
            with pytest.raises(OSError, match="is no file"):
                read(path)

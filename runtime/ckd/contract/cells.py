"""Cells of CSV files that hold text from elsewhere, such as names of files.

A spreadsheet takes a cell that begins with one of some characters for a formula, and carries it
out: a photograph named "=cmd|..." would do more than be listed. Such a text gets an apostrophe
before it, as OWASP's page on CSV injection advises; numbers stay as they are.
"""

import re
from typing import Final

_MARK: Final = "'"
_BEGINS: Final = r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]"
_FORMULA: Final = re.compile(f"'*{_BEGINS}")
_MARKED: Final = re.compile(f"'+{_BEGINS}")


def cell(value: object) -> object:
    """What to write: a text that a spreadsheet would carry out is marked, all else is as it was."""
    if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value):
        return f"{_MARK}{value}"
    return value


def uncelled(text: str) -> str:
    """A text as it was before `cell`."""
    return text[len(_MARK) :] if _MARKED.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

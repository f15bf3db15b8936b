"""Reads TOML strictly: every key must be known, of its type and within its bounds.

An error is one line with the key, what was expected, and what stands there.
"""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import parse_toml, toml_text

_SHOWN: Final = 60


class Table:
    """A table of a file; each key is asked for once, and `end` refuses those that are left.

    Args:
        where: of the file, for messages.
        content: of the table.
        name: dotted path of the table in the file, empty for the file itself.
    """

    def __init__(self, where: Path, content: Mapping[str, Any], name: str = "") -> None:
        self._where, self._content, self._name = where, content, name
        self._asked: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._content

    def text(self, key: str) -> str | None:
        """A text that is not empty and has no control characters."""
        value = self._get(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise self.wrong(key, "a text in quotes")
        return value.strip()

    def flag(self, key: str) -> bool | None:
        """True or false."""
        value = self._get(key)
        if value is None or isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def whole(self, key: str, least: int, most: int) -> int | None:
        """A whole number within bounds."""
        value = self._get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return value

    def number(self, key: str, least: float, most: float) -> float | None:
        """A number within bounds."""
        value = self._get(key)
        if value is None:
            return None
        if not is_number(value) or not least <= value <= most:
            raise self.wrong(key, f"a number from {least:g} to {most:g}")
        return float(value)

    def numbers(self, key: str, count: int, least: float, most: float) -> list[float] | None:
        """So many numbers within bounds."""
        value = self._get(key)
        if value is None:
            return None
        good = isinstance(value, list) and len(value) == count
        if not good or not all(is_number(one) and least <= one <= most for one in value):
            raise self.wrong(key, f"{count} numbers from {least:g} to {most:g}")
        return [float(one) for one in value]

    def choice(self, key: str, among: tuple[Any, ...]) -> Any:
        """One of some values."""
        value = self._get(key)
        if value is None or any(value == one and type(value) is type(one) for one in among):
            return value
        *first, last = map(_shown, among)
        raise self.wrong(key, f"{', '.join(first)} or {last}")

    def rows(self, key: str) -> list[Any] | None:
        """A list of lists, not checked further."""
        value = self._get(key)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(row, list) for row in value)
        ):
            raise self.wrong(key, "a list of rows")
        return value

    def table(self, key: str) -> "Table":
        """A table within this one; an empty one if it is not there."""
        value = self._get(key)
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise self.wrong(key, f"a table, as [{self._path(key)}]")
        return Table(self._where, value, self._path(key))

    def tables(self, key: str) -> "Iterator[Table]":
        """The tables of a list, as [[key]]."""
        value = self._get(key)
        if value is None:
            return
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, f"a list of tables, as [[{self._path(key)}]]")
        for one in value:
            yield Table(self._where, one, self._path(key))

    def end(self) -> None:
        """Refuse keys that nobody asked for.

        Raises:
            InputError: there is one; the message names it and what it may be meant for.
        """
        for key in self._content:
            if key not in self._asked:
                near = difflib.get_close_matches(key, self._asked, 1)
                meant = f"did you mean {near[0]}?" if near else f"known: {', '.join(self._asked)}"
                raise InputError(f"{self._where}: unknown key {self._path(key)!r}; {meant}")

    def wrong(self, key: str, expected: str) -> InputError:
        """The error for a value that is not what it should be."""
        value = self._content.get(key)
        is_address = isinstance(value, str) and "://" in value  # which may hold a password
        got = "an address with other characters" if is_address else _shown(value)
        return InputError(f"{self._where}: {self._path(key)}: expected {expected}, got {got}")

    def _get(self, key: str) -> Any:
        self._asked.append(key)
        return self._content.get(key)

    def _path(self, key: str) -> str:
        return f"{self._name}.{key}" if self._name else key


def text_and_tree(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file, and what it says.

    Raises:
        InputError: it cannot be read, or is not TOML.
    """
    try:
        text = toml_text(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); expected a unit file, in TOML"
        ) from error
    except ValueError as error:  # it is too long, or no text
        raise _no_toml(path, error) from error
    return text, tree_of(path, text)


def tree_of(path: Path, text: str) -> dict[str, Any]:
    """What a TOML text says; ``path`` is for messages.

    Raises:
        InputError: it is not TOML.
    """
    try:
        return parse_toml(text)
    except ValueError as error:
        raise _no_toml(path, error) from error


def _no_toml(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not TOML ({error}); docs/unit.md shows such a file")


def is_number(value: object) -> bool:
    """Whether it is a number of TOML, which true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."

"""Values of a journal that somebody sent, checked where they enter.

Every function raises `ValueError` that says what was expected and what was found. Keys that are not
asked for are passed over, so that journals of later versions can be read.
"""

from collections.abc import Mapping
from typing import Any, Final

from ckd.contract.escapes import printable
from ckd.contract.parsing import parse_json

#: The longest text that is taken, as a label or the name of a tensor.
MAX_TEXT: Final = 1000
#: The largest whole number that every reader of JSON keeps exact.
MAX_WHOLE: Final = 2**53
_MAX_SAID: Final = 160


def said(error: Exception) -> str:
    """What a decoder says of damage, as it may stand in a message: on one line, and not long."""
    shown = printable(" ".join(str(error).split()))
    return shown if len(shown) <= _MAX_SAID else f"{shown[:_MAX_SAID]}..."


def object_of(text: bytes) -> dict[str, Any]:
    """A JSON object."""
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, got {_shown(content)}")
    return content


def whole(record: Mapping[str, Any], key: str, least: int = 0, most: int = MAX_WHOLE) -> int:
    """A whole number in a range."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(key, f"a whole number from {least} to {most}", value)
    return value


def number(record: Mapping[str, Any], key: str) -> float:
    """A number; `object_of` takes finite ones only."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(key, "a number", value)
    return float(value)


def text(record: Mapping[str, Any], key: str) -> str:
    """A text that can be printed, of at least one character."""
    value = record.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise _wrong(key, f"a text of at most {MAX_TEXT} printable characters", value)
    return value


def optional_text(record: Mapping[str, Any], key: str) -> str | None:
    """As `text`; None where there is none."""
    return None if record.get(key) is None else text(record, key)


def table(record: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A JSON object within another; empty where there is none."""
    value = record.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or len(value) > MAX_TEXT:
        raise _wrong(key, f"an object of at most {MAX_TEXT} keys", value)
    return value


def texts(record: Mapping[str, Any], key: str) -> dict[str, str]:
    """An object whose keys and values are texts; empty where there is none."""
    values = table(record, key)
    return {text({"key": name}, "key"): text(values, name) for name in values}


def flag(record: Mapping[str, Any], key: str) -> bool | None:
    """True, false or none."""
    value = record.get(key)
    if value is not None and not isinstance(value, bool):
        raise _wrong(key, "true, false or null", value)
    return value


def _wrong(key: str, expected: str, value: object) -> ValueError:
    return ValueError(f"{key}: expected {expected}, got {_shown(value)}")


def _shown(value: object) -> str:
    """A value as it may stand in a message: on one line, and not long."""
    if isinstance(value, int) and not -MAX_WHOLE <= value <= MAX_WHOLE:
        return "a number of many digits"  # writing all of them may take long
    if isinstance(value, dict | list):
        return f"{type(value).__name__} of {len(value)}"
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

"""The one rule for text from outside that goes to a terminal, a log or a page.

Names of files, strings of bundles and units, and what cameras and servers say may hold characters
that break lines, turn the direction of writing or command terminals. They are written as escapes.
"""

import unicodedata
from typing import Any, Final

#: Unicode's general categories of control characters (C0, DEL, C1), of format characters (those
#: that turn the direction of writing, or have no width), of those that end lines, and of bytes that
#: are no text.
_COMMANDS: Final = frozenset({"Cc", "Cf", "Zl", "Zp", "Cs"})


def printable(text: str, keep: str = "") -> str:
    """Text as it may be shown, but for the characters ``keep``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in _COMMANDS and sign not in keep
        else sign
        for sign in text
    )


def printable_tree(content: Any) -> Any:
    """What JSON can express, with every text in it, keys too, as `printable` gives it."""
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {printable(str(key)): printable_tree(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [printable_tree(value) for value in content]
    return content

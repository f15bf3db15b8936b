"""What is told of a defect of this program: where it happened, and nothing of what it worked on.

What an exception says may hold the name of a photograph, which is that of a patient, a password, or
anything else that a file or a server sent. So of each one stand its kind and the places in the code
alone.
"""

import errno
import logging
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typing_extensions import override

from ckd.console.progress import on_stderr
from ckd.contract.escapes import printable


def crash_text(error: BaseException) -> str:
    """The traceback of an error and of those that led to it, without what they say."""
    parts = ["Traceback (most recent call last), without what the errors say:"]
    for one in reversed([*_led_to(error)]):
        parts += [place.rstrip("\n") for place in traceback.format_tb(one.__traceback__)]
        parts.append(kind_of(one))
    return "\n".join(parts)


def kind_of(error: BaseException) -> str:
    """What kind of error it is, as "OSError, ENOSPC (No space left on device)"."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number in errno.errorcode:
        return f"{name}, {errno.errorcode[number]} ({os.strerror(number)})"
    return name


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """An error, and those in whose course or because of which it was raised."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        hidden = None if current.__suppress_context__ else current.__context__
        current = current.__cause__ or hidden


def tell_crash(error: BaseException) -> None:
    """Print `crash_text` on stderr."""
    on_stderr(crash_text(error), keep="\n")


@contextmanager
def telling_of_crashes() -> Iterator[None]:
    """Within the block logs and threads, too, tell of errors as `crash_text` does."""
    log = _ToStderr()
    log.setFormatter(_Format("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(log)  # its level is WARNING, unless somebody chose another
    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = sys.unraisablehook = _tell_of
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before
        logging.getLogger().removeHandler(log)


def _tell_of(failed: Any) -> None:
    """What ends a thread, or cannot be raised, as in a destructor; a `SystemExit` is no error."""
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        tell_crash(failed.exc_value)


class _ToStderr(logging.Handler):
    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception as error:  # of a library, whose arguments do not fit its message
            text = f"{record.levelname}: a log message failed ({kind_of(error)})"
        on_stderr(text, keep="\n")


class _Format(logging.Formatter):
    """Of logs: each message on one line, and errors as `crash_text` tells of them."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))

    @override
    def formatException(self, ei: Any) -> str:
        return crash_text(ei[1])

"""Processes that load images, and what it means when one of them dies.

They hand over batches in shared memory, of which containers have little (Docker: 64 MiB). PyTorch
then ends them with a bus error, or fails in them; a system without memory kills them. It comes as a
`RuntimeError` of several lines, or as whatever a connection ends with that is cut off.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from typing import Any, Final

from ckd.contract.errors import CkdError, EnvironmentUnusable

#: What PyTorch's messages on shared memory have in common.
_SHARED_MEMORY: Final = ("bus error", "shared memory", "shm", "/torch_")
_DEAD: Final = ("exited unexpectedly", "is killed by signal")
_KILLED: Final = "ended at once, as happens when memory or /dev/shm is full"
#: What the connection to a process ends with that dies while it is used.
_CUT_OFF: Final = (ConnectionError, EOFError)
_CAUGHT: Final = "in DataLoader worker process"


def end_if_nothing_can_be_handed_over(worker: int) -> None:
    """In a process that loads images: end it when a batch finds no shared memory.

    Python prints the traceback of such an error and goes on without the batch, for which the
    training then waits for ever. A process that has ended is noticed.
    """

    def end(error: Exception, batch: Any) -> None:
        os._exit(1)

    Queue._on_queue_feeder_error = staticmethod(end)  # type: ignore[attr-defined]


@contextmanager
def workers_named(what: str) -> Iterator[None]:
    """Within the block the death of a process that loads images is one line with the remedy.

    Args:
        what: is done with the images, for the message.

    Raises:
        EnvironmentUnusable: a process that loads images died, or had no shared memory.
        CkdError: what one of them raised, in one line.
    """
    try:
        yield
    except CkdError as error:
        if _CAUGHT in str(error):  # with the whole traceback of the other process
            raise type(error)(_last_line(error)) from error
        raise
    except (RuntimeError, OSError, EOFError) as error:
        if (said := _said(error)) is None:
            raise
        raise EnvironmentUnusable(
            f"{what}: a process that loads images {said}; give a container more with --shm-size "
            "8g, or load images in this process with --workers 0; the same command goes on"
        ) from error


def _said(error: RuntimeError | OSError | EOFError) -> str | None:
    """What became of a process that loads images; None if the error is about something else."""
    text = str(error)
    is_socket = isinstance(error, FileNotFoundError) and error.filename is None
    if is_socket or isinstance(error, _CUT_OFF):
        return _KILLED  # in the middle of handing over a batch
    if "DataLoader worker" not in text:
        return None
    if any(word in text.lower() for word in _SHARED_MEMORY):
        return "found no shared memory (/dev/shm)"
    return _KILLED if any(word in text for word in _DEAD) else f"failed ({_last_line(error)})"


def _last_line(error: Exception) -> str:
    """Of a message that holds a traceback, what was raised: "NAME: MESSAGE" without the name."""
    line = str(error).strip().splitlines()[-1]
    name, _, message = line.partition(": ")
    return message if message and name.replace(".", "").replace("_", "").isalnum() else line

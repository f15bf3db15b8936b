"""Processes that load images, and what it means when one of them dies.

They hand over batches in shared memory, of which containers have little (Docker: 64 MiB). PyTorch
then ends them with a bus error, or fails in them; a system without memory kills them. Each comes as
a `RuntimeError` of several lines.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ckd.contract.errors import CkdError, EnvironmentUnusable

#: What PyTorch's messages on shared memory have in common.
_SHARED_MEMORY: Final = ("bus error", "shared memory", "shm", "/torch_")
_DEAD: Final = ("exited unexpectedly", "is killed by signal")
_CAUGHT: Final = "in DataLoader worker process"


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
    except RuntimeError as error:
        text = str(error)
        if "DataLoader worker" not in text:
            raise
        lines = text.lower()
        if any(word in lines for word in _SHARED_MEMORY):
            said = "a process that loads images found no shared memory (/dev/shm)"
        elif any(word in text for word in _DEAD):
            said = (
                "a process that loads images was killed, as happens when memory or /dev/shm is full"
            )
        else:
            said = f"a process that loads images failed ({_last_line(error)})"
        raise EnvironmentUnusable(
            f"{what}: {said}; give a container more with --shm-size 8g, or load images in this "
            "process with --workers 0; the same command goes on"
        ) from error


def _last_line(error: Exception) -> str:
    """Of a message that holds a traceback, what was raised: "NAME: MESSAGE" without the name."""
    line = str(error).strip().splitlines()[-1]
    name, _, message = line.partition(": ")
    return message if message and name.replace(".", "").replace("_", "").isalnum() else line

"""Processes that load images and die, or have no shared memory, are one line with the remedy.

`tests/system/test_full_disks.py` lets a real one run out of memory; here is what PyTorch raises.
"""

import pytest

from ckd.contract.errors import CkdError, EnvironmentUnusable, InputError
from ckd.train.feeding.workers import workers_named

CAUGHT = """Caught {kind} in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 375, in _worker_loop
    data = fetcher.fetch(index)
{last}
"""
KILLED = "ended at once, as happens when memory or /dev/shm is full"
NO_MEMORY = "found no shared memory (/dev/shm)"
BUS_ERROR = (
    "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. Please try to raise your shared memory limit."
)
FULL = "RuntimeError: unable to write to file </torch_9_2>: No space left on device (28)"


def caught(kind: str, last: str) -> str:
    return CAUGHT.format(kind=kind, last=last)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("DataLoader worker (pid(s) 30107) exited unexpectedly"), KILLED),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), KILLED),
        (ConnectionResetError(104, "Connection reset by peer"), KILLED),
        (FileNotFoundError(2, "No such file or directory"), KILLED),  # of a socket
        (EOFError(), KILLED),
        (RuntimeError(BUS_ERROR), NO_MEMORY),
        (RuntimeError(caught("RuntimeError", FULL)), NO_MEMORY),
        (RuntimeError(caught("RuntimeError", "RuntimeError: odd")), "failed (odd)"),
    ],
)
def test_a_process_that_dies_is_named_with_the_remedy(raised: Exception, said: str) -> None:
    with pytest.raises(EnvironmentUnusable) as refused, workers_named("stage seg"):
        raise raised
    assert str(refused.value) == (
        f"stage seg: a process that loads images {said}; give a container more with --shm-size "
        "8g, or load images in this process with --workers 0; the same command goes on"
    )


def test_what_is_raised_on_purpose_in_such_a_process_is_one_line() -> None:
    text = caught("InputError", "ckd.contract.errors.InputError: a.jpg: no such file")
    with pytest.raises(InputError) as refused, workers_named("stage seg"):
        raise InputError(text)
    assert str(refused.value) == "a.jpg: no such file"


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("shapes differ"),
        InputError("a.jpg: damaged"),
        OSError(28, "No space left on device", "last.ckpt"),
        FileNotFoundError(2, "No such file or directory", "last.ckpt"),
    ],
)
def test_other_errors_are_left_alone(raised: Exception) -> None:
    with pytest.raises((RuntimeError, CkdError, OSError)) as refused, workers_named("stage seg"):
        raise raised
    assert refused.value is raised

"""One process at a time writes in a folder; the others are told who does, and since when.

The lock is a file in the folder, locked by the kernel (`flock(2)`): it ends with its process,
however that ends. Where the file system has no such locks, the file itself is the lock. It says on
which machine which process made it, and a process that is not there any more is taken over from;
for one of another machine nobody can tell, and the message says which file to remove.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from ckd.contract.disk import lasting_folder
from ckd.contract.errors import UsageError
from ckd.contract.leftovers import claim, sweep
from ckd.contract.parsing import parse_json

#: Name of the lock in its folder.
LOCK: Final = ".ckd-writer"

#: Tries of a lock that another process takes away in the same moment.
_TRIES: Final = 20
#: Where there are no kernel's locks, two that begin at once see after this who was the later one.
_SETTLED_S: Final = 0.1
#: A link is not followed: what it leads to would be emptied, wherever it lies.
_OPENED: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)

#: No time later than this is believed, nor can it be shown.
_YEAR_5000_S: Final = 1e11


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that writes in a folder.

    Attributes:
        command: its program and first argument.
        pid: its number.
        started: when it was started, as the kernel counts, so that a number that is given again is
            no mistake; empty where that cannot be known.
        machine: names the running system and its space of process numbers.
        host: name of the machine, for people.
        since_s: when it began to write, seconds since 1970.
    """

    command: str
    pid: int
    started: str
    machine: str
    host: str
    since_s: float

    @classmethod
    def this_process(cls) -> "Owner":
        """What other processes will read of this one."""
        words = [Path(sys.argv[0]).name, *sys.argv[1:2]] if sys.argv else ["python"]
        return cls(
            command=" ".join(words),
            pid=os.getpid(),
            started=_started(os.getpid()),
            machine=_machine(),
            host=_host(),
            since_s=time.time(),
        )

    @property
    def is_dead(self) -> bool:
        """Whether the process is known to have ended; False if it is on another machine."""
        if self.machine != _machine() or os.name == "nt":
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):  # another user's
            return False
        return bool(self.started) and _started(self.pid) != self.started

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since_s))
        age = _age(time.time() - self.since_s)
        return f"`{self.command}`, process {self.pid} on {self.host}, since {since} ({age})"


@contextlib.contextmanager
def one_writer(folder: Path, remedy: str = "wait for it, or name another folder") -> Iterator[None]:
    """Let nobody else write in a folder while the block runs.

    The folder is made if it is missing, and removed again if nothing was put into it. What an
    earlier writer had begun when it died is removed.

    Args:
        folder: to write in.
        remedy: what the user can do if another process writes there.

    Raises:
        UsageError: another process, or this one elsewhere, writes in the folder.
        OSError: the folder cannot be written to.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        descriptor = _taken(folder, remedy)
        try:
            sweep(folder, is_alone=True)
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()
            os.close(descriptor)
    finally:
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _taken(folder: Path, remedy: str) -> int:
    """The open lock of a folder, which this process has now."""
    path = folder / LOCK
    for _ in range(_TRIES):
        with contextlib.suppress(FileNotFoundError):  # whoever made the folder has removed it again
            lasting_folder(folder)
            descriptor = os.open(path, _OPENED, 0o666)
            try:
                if _is_ours(descriptor, path, folder, remedy):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    raise UsageError(f"{folder}: other processes begin to work in it; {remedy}")


def _is_ours(descriptor: int, path: Path, folder: Path, remedy: str) -> bool:
    """Take the lock, or raise because another process has it; False: it must be opened anew."""
    is_free = claim(descriptor)
    owner = _owner(descriptor)
    if is_free is False or (is_free is None and owner is not None and not owner.is_dead):
        raise _refused(folder, owner, remedy, None if is_free is False else path)
    if not os.path.samestat(os.fstat(descriptor), path.stat()):
        return False  # the last owner has removed the file after it was opened here
    ours = Owner.this_process()
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(asdict(ours)).encode())
    if is_free is None:
        time.sleep(_SETTLED_S)
        if (later := _owner(descriptor)) != ours:
            raise _refused(folder, later, remedy, path)
    return True


def _refused(folder: Path, owner: Owner | None, remedy: str, lock: Path | None) -> UsageError:
    """``lock`` is the file to remove where no kernel does it."""
    said = f": {owner}" if owner is not None else ""
    is_far = lock is not None and owner is not None and owner.machine != _machine()
    where = f"; if that machine is gone, remove {lock}" if is_far else ""
    return UsageError(f"{folder}: another process works in it{said}; {remedy}{where}")


def _owner(descriptor: int) -> Owner | None:
    """Who wrote the lock; None if nobody did yet, or a kill cut it short."""
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        fields = parse_json(os.read(descriptor, 4096))
        pid, since_s = int(fields["pid"]), float(fields["since_s"])
        if pid < 1 or not 0 <= since_s < _YEAR_5000_S:
            return None
        return Owner(**{**fields, "pid": pid, "since_s": since_s})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _started(pid: int) -> str:
    """Ticks between the start of the system and that of a process (proc(5), field 22)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _machine() -> str:
    """The same for all processes that see each other's numbers, and for no others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return _host()


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")


def _age(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0, round(seconds))} s ago"
    if seconds < 7200:
        return f"{round(seconds / 60)} min ago"
    return f"{round(seconds / 3600)} h ago"

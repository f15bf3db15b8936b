"""One process at a time writes in a folder, and a dead one is taken over from."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ckd.contract import writer_lock
from ckd.contract.errors import UsageError
from ckd.contract.writer_lock import LOCK, one_writer

HOLD = """
import sys
from pathlib import Path
from ckd.contract.writer_lock import one_writer
with one_writer(Path("runs/a")):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_writer(cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=cwd, stdin=-1, stdout=-1, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def write_in(folder: Path) -> None:
    with one_writer(folder):
        pass


def test_the_second_is_told_who_writes_since_when_and_a_killed_one_is_taken_over_from(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "runs" / "a"
    with another_writer(tmp_path) as other:
        with pytest.raises(UsageError) as refused:
            write_in(folder)
        assert re.fullmatch(
            rf".*/a: another process works in it: `-c`, process {other.pid} on \S+, "
            r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s ago\); "
            r"wait for it, or name another folder",
            str(refused.value),
        )
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (folder / LOCK).exists()
        with one_writer(folder):
            (folder / "mine").touch()
    assert [path.name for path in folder.iterdir()] == ["mine"]


def test_a_folder_into_which_nothing_was_put_is_not_left_behind(tmp_path: Path) -> None:
    with one_writer(tmp_path / "runs" / "a"):
        pass
    assert not list(tmp_path.iterdir())


def test_the_same_folder_by_another_name_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with one_writer(tmp_path / "a"), pytest.raises(UsageError, match="another process works"):
        write_in(tmp_path / "link")


def test_a_lock_that_a_kill_cut_short_is_no_obstacle(tmp_path: Path) -> None:
    for content in ("", "{", '{"pid": 1}', "[]", "[" * 4096):
        (tmp_path / LOCK).write_text(content)
        with one_writer(tmp_path):
            pass


def test_a_link_in_the_place_of_a_lock_is_refused_and_what_it_leads_to_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes").write_text("precious")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / LOCK).symlink_to(tmp_path / "notes")
    with pytest.raises(OSError, match=LOCK):
        write_in(tmp_path / "results")
    assert (tmp_path / "notes").read_text() == "precious"


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system without `flock`."""
    monkeypatch.setattr(writer_lock, "claim", lambda descriptor: None)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_the_file_says_whose_it_is(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock = tmp_path / LOCK
    with one_writer(tmp_path):
        own = json.loads(lock.read_text())
    own |= {"command": "ckd-train fit", "since_s": time.time() - 7200}
    lock.write_text(json.dumps(own))
    with pytest.raises(UsageError, match=rf"fit`, process {os.getpid()} on \S+, .*\(2 h ago\)"):
        write_in(tmp_path)
    lock.write_text(json.dumps({**own, "machine": "another"}))
    with pytest.raises(UsageError, match=rf"if that machine is gone, remove {lock}$"):
        write_in(tmp_path)
    # A process that ended, and another one that got its number.
    for dead in ({"pid": ended.pid}, {"started": "1"}):
        lock.write_text(json.dumps({**own, **dead}))
        write_in(tmp_path)
        assert not lock.exists()


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(
    "change", [{"since_s": 1e999}, {"since_s": -1}, {"pid": -1}, {"pid": 1e999}]
)
def test_a_lock_that_cannot_be_true_is_no_obstacle(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with one_writer(tmp_path):
        own = json.loads((tmp_path / LOCK).read_text())
    (tmp_path / LOCK).write_text(json.dumps(own | change))
    write_in(tmp_path)
    assert not (tmp_path / LOCK).exists()

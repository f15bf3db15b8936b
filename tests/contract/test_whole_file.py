"""Files and folders are whole or not there: after a kill, on a full disk, after a loss of power."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from disk_order import watched

from ckd.contract.disk import is_of_the_disk, lasting_folder, refusal
from ckd.contract.errors import UsageError
from ckd.contract.leftovers import BUILDING, WRITING, sweep
from ckd.contract.whole_file import FileGroup, new_folder, replace_file, replacing

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's descriptors")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As a full disk: writing beyond fails in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_group(folder: Path, **contents: bytes) -> None:
    with FileGroup(folder) as group:
        for name, content in contents.items():
            group.write(name, content)


def test_a_file_is_synced_before_it_is_renamed_and_its_name_afterwards(tmp_path: Path) -> None:
    with watched() as order:
        replace_file(tmp_path / "a.json", b"{}")
    assert order.events == ["sync *", "rename a.json", "sync folder"]


def test_the_content_before_stays_beside_the_new_one(tmp_path: Path) -> None:
    path, before = tmp_path / "last", tmp_path / "before"
    for content in (b"1", b"2", b"3"):
        with watched() as order, replacing(path, before=before) as file:
            file.write(content)
    assert order.events == ["sync *", "rename before", "rename last", "sync folder"]
    assert (path.read_bytes(), before.read_bytes()) == (b"3", b"2")


def test_files_of_a_group_are_synced_together_and_the_head_comes_last(tmp_path: Path) -> None:
    for path in ("mole.json", "mole_old.png"):
        (tmp_path / path).write_bytes(b"of an earlier finding")
    with watched() as order:
        with FileGroup(tmp_path) as group:
            group.remove("mole_old.png")
            group.write("mole_mask.png", b"m" * 99)
            group.write("mole.json", b"{}")
            assert (tmp_path / "mole.json").read_bytes() == b"of an earlier finding"
        replace_file(tmp_path / "last", b"")  # whose sync of the folder is that of the names
    assert order.events[:3] == ["sync disk", "rename mole_mask.png", "rename mole.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "last",
        "mole.json",
        "mole_mask.png",
    ]


def test_a_folder_is_synced_with_all_that_is_in_it(tmp_path: Path) -> None:
    with watched() as order, new_folder(tmp_path / "bundle") as new:
        (new.path / "inner").mkdir(parents=True)
        (new.path / "inner" / "a.onnx").write_bytes(b"a")
        (new.path / "hashes.json").write_bytes(b"{}")
        new.keep()
    assert order.events == [
        "sync a.onnx", "sync folder", "sync hashes.json", "sync folder", "rename bundle",
        "sync folder",
    ]  # fmt: skip
    assert (tmp_path / "bundle" / "inner" / "a.onnx").read_bytes() == b"a"
    assert names(tmp_path) == ["bundle"]


def test_a_full_disk_leaves_the_old_file_and_names_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    replace_file(path, b"old")
    with files_of_at_most(100), pytest.raises(OSError, match=r"File too large: '.*/a\.json'"):
        replace_file(path, b"n" * 200)
    with files_of_at_most(100), pytest.raises(OSError, match=r"File too large: '.*/b\.png'"):
        write_group(tmp_path, **{"a.json": b"new", "b.png": b"n" * 200})
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


def fill(out: Path, size: int) -> None:
    with new_folder(out) as new:
        new.path.mkdir()
        (new.path / "a.onnx").write_bytes(bytes(size))
        new.keep()


def test_a_disk_that_is_full_in_a_folder_names_the_folder(tmp_path: Path) -> None:
    with files_of_at_most(100), pytest.raises(OSError, match=r"File too large: '.*/bundle'$"):
        fill(tmp_path / "bundle", 200)
    assert names(tmp_path) == []


def test_a_folder_that_is_made_outlasts_a_loss_of_power_with_those_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set[Path](), os.fsync

    def noted(descriptor: int) -> None:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.update(path for path in folder.iterdir())  # names that are on the disk now
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    lasting_folder(tmp_path / "runs" / "a")
    assert synced == {tmp_path / "runs", tmp_path / "runs" / "a"}
    synced.clear()
    lasting_folder(tmp_path / "runs" / "a")  # costs nothing where it is there
    assert synced == set()


def test_a_folder_that_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    with new_folder(tmp_path / "below" / "bundle") as new:
        new.path.mkdir()
    assert names(tmp_path / "below") == []


def test_a_place_that_was_taken_meanwhile_is_said(tmp_path: Path) -> None:
    with new_folder(tmp_path / "bundle") as new:
        new.path.mkdir()
        (tmp_path / "bundle").mkdir()
        (tmp_path / "bundle" / "theirs").touch()
        with pytest.raises(UsageError, match=r"bundle was made by another process meanwhile"):
            new.keep()
    assert names(tmp_path / "bundle") == ["theirs"]


@pytest.mark.parametrize("name", ["x" * 255, "早" * 85, "名" * 80 + ".json"])
def test_the_longest_names_can_be_written(tmp_path: Path, name: str) -> None:
    replace_file(tmp_path / name, b"1")
    assert names(tmp_path) == [name]


def test_a_group_with_a_name_that_is_too_long_or_a_folders_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    for name in ("x" * 256, "a.png"):
        with pytest.raises(OSError, match=r"too long|directory") as refused:
            write_group(tmp_path, **{"b.png": b"1", name: b"1"})
        assert "; " in refusal(refused.value)  # and a remedy
        assert not is_of_the_disk(refused.value)
    assert names(tmp_path) == ["a.png"]


def test_an_error_is_one_line_with_the_file_and_the_remedy() -> None:
    full = OSError(28, "No space left on device", "out/a.png")
    assert is_of_the_disk(full)
    assert refusal(full) == (
        "out/a.png: No space left on device; free some space, or write to another disk"
    )
    assert refusal(OSError("odd")) == "odd"


KILLED = """
import os, signal, sys
from pathlib import Path
from ckd.contract.whole_file import FileGroup, new_folder, replacing
with (
    new_folder(Path("bundle")) as new, replacing(Path("a.json")) as file,
    FileGroup(Path()) as group,
):
    new.path.mkdir()
    group.write("b.png", b"b")
    print("writing", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_writer_removes_what_a_dead_one_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=tmp_path, stdin=-1, stdout=-1, text=True
    ) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        unfinished = {path for path in tmp_path.iterdir() if path.name != "kept"}
        assert len(unfinished) == 3
        assert {path.name[:9] for path in unfinished} == {WRITING, BUILDING + "b"}
        for path in unfinished:
            os.utime(path, (1, 1))
        sweep(tmp_path, is_alone=True)
        assert set(tmp_path.iterdir()) == {*unfinished, tmp_path / "kept"}  # its owner lives
        writer.communicate("die")
    assert set(tmp_path.iterdir()) == {*unfinished, tmp_path / "kept"}
    with new_folder(tmp_path / "another"):
        pass
    assert names(tmp_path) == ["kept"]


def test_what_is_young_is_left_alone_where_others_write_too(tmp_path: Path) -> None:
    path = tmp_path / f"{WRITING}a.json-1-ab"
    path.touch()
    sweep(tmp_path)
    assert path.exists()
    sweep(tmp_path, is_alone=True)
    assert not path.exists()

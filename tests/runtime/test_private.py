"""What is kept on a machine is used only if nobody else could have written it."""

import logging
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ckd.runtime.cache import Store
from ckd.runtime.engine_cache import EngineCache
from ckd.runtime.private import NotPrivate, make_private, private_file

KEY = {"network": "a"}


@pytest.fixture(params=[0o022, 0o002, 0o000])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_made_is_for_this_user_alone_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    store, cache = Store(tmp_path / "new/records"), EngineCache(tmp_path / "new/engines")
    assert store.write(KEY, 1)
    with cache.slot(KEY) as slot:
        slot.keep(b"engine")
    assert mode(tmp_path / "new") == 0o700
    made = [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    assert {path.suffix for path in made} == {".json", ".engine", ".lock"}
    for path in made:
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert store.read(KEY) == 1
    assert cache.find(KEY) is not None


def test_a_folder_of_this_user_that_others_may_write_to_becomes_private(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(0o777)
    make_private(folder)
    assert mode(folder) == 0o700
    readable = tmp_path / "readable"
    readable.mkdir()
    readable.chmod(0o755)
    make_private(readable)  # nobody can write there: that others may read it was somebody's choice
    assert mode(readable) == 0o755


@pytest.mark.parametrize("wrong", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("of", ["file", "folder"])
def test_what_others_may_write_is_not_used_and_the_remedy_is_named(
    tmp_path: Path, of: str, wrong: int, caplog: pytest.LogCaptureFixture
) -> None:
    store, cache = Store(tmp_path / "records"), EngineCache(tmp_path / "engines")
    store.write(KEY, 1)
    with cache.slot(KEY) as slot:
        slot.keep(b"engine")
    for path in (store.path(KEY), cache.path(KEY)):
        changed = path if of == "file" else path.parent
        changed.chmod(wrong | (0o100 if of == "folder" else 0))
        with pytest.raises(NotPrivate, match=f"chmod go-w {changed}"), private_file(path):
            pass
    with caplog.at_level(logging.WARNING):
        assert store.read(KEY) is None
        assert cache.find(KEY) is None
    assert "may be written by others" in caplog.text


def test_a_planted_engine_is_built_again(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    with cache.slot(KEY) as slot:
        slot.keep(b"mine")
    cache.path(KEY).chmod(0o666)
    with cache.slot(KEY) as slot:
        assert slot.engine is None
        kept = slot.keep(b"built anew")
    assert bytes(kept.content) == b"built anew"
    assert mode(cache.path(KEY)) == 0o600


def test_nothing_is_written_through_a_link_in_the_place_of_a_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o775)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(elsewhere)
    for name in ("linked", "gone"):
        store, cache = Store(tmp_path / name), EngineCache(tmp_path / name)
        assert not store.write(KEY, 1)
        with cache.slot(KEY) as slot:
            assert bytes(slot.keep(b"engine").content) == b"engine"
    assert mode(elsewhere) == 0o775
    assert not [*elsewhere.iterdir()]
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_nothing_is_written_to_the_folder_of_another_user(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(0o700)
    os.chown(folder, 54321, -1)
    assert not Store(folder).write(KEY, 1)
    with EngineCache(folder).slot(KEY) as slot:
        slot.keep(b"engine")
    assert not [*folder.iterdir()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_what_belongs_to_another_user_is_not_used(tmp_path: Path) -> None:
    for of in ("file", "folder"):
        store = Store(tmp_path / of)
        store.write(KEY, 1)
        changed = store.path(KEY) if of == "file" else store.folder
        os.chown(changed, 54321, -1)
        with (
            pytest.raises(NotPrivate, match="belongs to user 54321"),
            private_file(store.path(KEY)),
        ):
            pass
        assert store.read(KEY) is None


def test_links_pipes_and_folders_are_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "records"
    make_private(folder)
    real = tmp_path / "real"
    real.write_text("{}")
    (folder / "link").symlink_to(real)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with (
            pytest.raises(NotPrivate, match="and not used; remove it"),
            private_file(folder / name),
        ):
            pass
    with pytest.raises(FileNotFoundError), private_file(folder / "none"):
        pass
    elsewhere = tmp_path / "elsewhere"
    elsewhere.symlink_to(folder)
    (folder / "file").write_text("{}")
    with pytest.raises(NotPrivate, match="elsewhere is a link"), private_file(elsewhere / "file"):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave something to others")
def test_what_root_leaves_to_be_read_is_used_by_others() -> None:
    """So a maker ships engines: in a part of the system's image that only root may write to."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        store = Store(Path(place) / "cache/records")
        store.write(KEY, 1)
        reader, writer = os.pipe()
        for path in (None, Path(place) / "cache", store.folder, store.path(KEY)):
            if path is not None:
                path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
            if path in (None, store.path(KEY)):
                child = os.fork()
                if child == 0:  # nothing but this test's own code runs in it
                    os.setuid(54321)
                    os.write(writer, b"1" if store.read(KEY) == 1 else b"0")
                    os._exit(0)
                os.waitpid(child, 0)
        assert os.read(reader, 9) == b"01"  # what is made is for root alone
        os.close(reader)
        os.close(writer)


def test_what_holds_for_every_look_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    assert store.write(KEY, 1)
    assert store.write({"network": "b"}, 2)
    tmp_path.chmod(0o777)
    caplog.set_level(logging.WARNING)
    assert not [*store.records(), *store.records()]
    assert len(caplog.records) == 1

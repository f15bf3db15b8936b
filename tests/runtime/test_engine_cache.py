import hashlib
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.fetching import fetch

from ckd.contract.errors import EnvironmentUnusable
from ckd.runtime.cache import Store
from ckd.runtime.engine_cache import EngineCache, EngineKey

KEY: EngineKey = {"onnx": "ab" * 32, "device": "a GPU", "threads": 2}


def other(**changed: str | int) -> EngineKey:
    return {**KEY, **changed}


class Builder:
    """Counts how often it was asked."""

    def __init__(self, content: bytes = b"engine") -> None:
        self.content, self.times = content, 0

    def __call__(self) -> bytes:
        self.times += 1
        return self.content


def record_of_another_engine() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.write({}, {"size": 6, "sha256": hashlib.sha256(b"engine").hexdigest()})
        return store.path({}).read_bytes()


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


def test_an_engine_is_built_once(cache: EngineCache) -> None:
    build = Builder()
    for _ in range(3):
        assert bytes(fetch(cache, KEY, build)) == b"engine"
    assert build.times == 1


@pytest.mark.parametrize("name", list(KEY))
def test_whatever_changes_in_the_key_needs_another_engine(cache: EngineCache, name: str) -> None:
    fetch(cache, KEY, Builder(b"one"))
    changed = other(**{name: "changed"})
    assert bytes(fetch(cache, changed, Builder(b"two"))) == b"two"
    assert bytes(fetch(cache, KEY, Builder(b"three"))) == b"one"


def test_the_order_of_a_key_does_not_matter(cache: EngineCache) -> None:
    fetch(cache, KEY, Builder(b"one"))
    backwards = dict(reversed(list(KEY.items())))
    assert bytes(fetch(cache, backwards, Builder(b"two"))) == b"one"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(b"engin"), "damaged"),
        (lambda path: path.write_bytes(b"Engine"), "damaged"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.with_suffix(".json").write_text("[" * 100_000), "no record"),
        (lambda path: path.with_suffix(".json").unlink(), "no record"),
        (lambda path: path.with_suffix(".json").write_text("{"), "no record"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "no record"),
        (lambda path: path.with_suffix(".json").write_text('{"key": {}, "size": 6}'), "no record"),
        (
            lambda path: Store(path.parent).path(KEY).write_bytes(record_of_another_engine()),
            "another engine",
        ),
    ],
)
def test_what_is_not_whole_is_built_again_and_said_in_one_line(
    cache: EngineCache, caplog: pytest.LogCaptureFixture, damage: object, said: str
) -> None:
    fetch(cache, KEY, Builder(b"engine"))
    assert callable(damage)
    damage(cache.path(KEY))
    with caplog.at_level(logging.WARNING):
        assert bytes(fetch(cache, KEY, Builder(b"built again"))) == b"built again"
    assert [said in r.message and "building it again" in r.message for r in caplog.records] == [
        True
    ]
    caplog.clear()
    assert bytes(fetch(cache, KEY, Builder(b"never"))) == b"built again"
    assert not caplog.records


def test_a_build_that_fails_leaves_nothing(cache: EngineCache) -> None:
    def fail() -> bytes:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        fetch(cache, KEY, fail)
    assert cache.entries() == []
    assert bytes(fetch(cache, KEY, Builder())) == b"engine"  # and the lock is free


def test_where_nothing_can_be_written_it_is_built_every_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache, build = EngineCache(tmp_path / "file" / "engines"), Builder()
    assert fetch(cache, KEY, build) == b"engine"
    assert fetch(cache, KEY, build) == b"engine"
    assert build.times == 2


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "CKD_CACHE"):
        monkeypatch.delenv(name, raising=False)

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(EnvironmentUnusable, match=r"no home folder.*set CKD_CACHE"):
        EngineCache()


def test_a_folder_without_locks_is_read(cache: EngineCache, monkeypatch: Any) -> None:
    fetch(cache, KEY, Builder(b"kept"))

    def read_only(*given: Any, **named: Any) -> None:
        raise PermissionError("read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert bytes(fetch(cache, KEY, Builder(b"built"))) == b"kept"
    assert bytes(fetch(cache, other(threads=9), Builder(b"built"))) == b"built"


def test_those_used_longest_ago_make_room(cache: EngineCache) -> None:
    cache.limit_bytes = 250
    for index in range(3):
        fetch(cache, other(threads=index), Builder(bytes([index]) * 100))
        os.utime(cache.path(other(threads=index)), (index, index))
    assert not cache.path(other(threads=0)).exists()
    fetch(cache, other(threads=1), Builder())  # used now, and so younger than 2
    fetch(cache, other(threads=3), Builder(b"3" * 100))
    assert [entry.key["threads"] for entry in cache.entries()] == [3, 1]


def test_one_that_is_larger_than_the_limit_is_kept_alone(cache: EngineCache) -> None:
    cache.limit_bytes = 10
    fetch(cache, KEY, Builder(b"small"))
    assert len(fetch(cache, other(threads=4), Builder(b"l" * 100))) == 100
    assert [entry.size for entry in cache.entries()] == [100]


def test_pruning_says_what_it_freed_and_takes_what_nobody_knows(cache: EngineCache) -> None:
    for index in range(3):
        fetch(cache, other(threads=index), Builder(b"x" * 100))
    (cache.folder / "unknown.engine").write_bytes(b"y" * 7)
    assert cache.prune(limit_bytes=150) == 207
    assert len(cache.entries()) == 1
    assert cache.prune() == 100
    assert list(cache.folder.glob("*.engine")) == list(cache.folder.glob("*.json")) == []


def test_pruning_takes_what_a_killed_process_was_writing(cache: EngineCache) -> None:
    fetch(cache, KEY, Builder())
    left, in_work = (cache.folder / f".writing-x.engine-{pid}-ab" for pid in (1, 2))
    for path in (left, in_work):
        path.write_bytes(b"y" * 7)
    os.utime(left, (1, 1))
    assert cache.prune(limit_bytes=1000) == 7
    assert (left.exists(), in_work.exists(), len(cache.entries())) == (False, True, 1)


def test_an_engine_in_use_survives_its_removal(cache: EngineCache) -> None:
    content = fetch(cache, KEY, Builder(b"engine"))
    cache.drop(KEY)
    assert bytes(content) == b"engine"


FETCH_SLOWLY = """
import sys, time
from pathlib import Path
from typing import Any
from ckd.runtime.engine_cache import EngineCache

def build():
    with open(sys.argv[2], "a") as log:
        log.write("built ")
    time.sleep(0.5)
    return b"engine"

with EngineCache(Path(sys.argv[1])).slot({"a": 1}) as slot:
    engine = slot.engine if slot.engine is not None else slot.keep(build())
assert bytes(engine.content) == b"engine"
"""


def test_two_processes_at_once_build_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FETCH_SLOWLY, str(tmp_path / "engines"), str(tmp_path / "log")]
    processes = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "built "

"""Records of what was measured or built on this machine: never wrong, and never in the way."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckd.contract.whole_file import replace_file
from ckd.runtime.cache import Store

KEY = {"network": "ab" * 32, "threads": 2, "versions": ["one 1.0", "two 2.0"]}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "new" / "records")


@pytest.mark.parametrize("value", [{"a": 0.1 + 0.2, "b": None}, [1, 2.5], "words", 0, {}])
def test_a_value_is_read_as_it_was_written(store: Store, value: object) -> None:
    assert store.read(KEY) is None
    store.write(KEY, value)
    assert store.read(KEY) == value
    assert [record.key for record in store.records()] == [KEY]


def test_the_newest_value_of_a_key_counts(store: Store) -> None:
    store.write(KEY, "old")
    store.write(dict(reversed(list(KEY.items()))), "new")
    assert store.read(KEY) == "new"
    assert list(store.paths()) == [store.path(KEY)]


@pytest.mark.parametrize("name", list(KEY))
def test_whatever_changes_in_a_key_makes_another_record(store: Store, name: str) -> None:
    store.write(KEY, "one")
    assert store.read({**KEY, name: "changed"}) is None
    assert store.read({**KEY, "more": 1}) is None


def test_a_tuple_in_a_key_is_a_list(store: Store) -> None:
    store.write({"versions": ("one", "two")}, 1)
    assert store.read({"versions": ("one", "two")}) == store.read({"versions": ["one", "two"]}) == 1


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("[" * 100_000),
        lambda path: edited(path, value="another"),
        lambda path: edited(path, key={**KEY, "threads": 3}),
        lambda path: edited(path, key=None),
        lambda path: (path.unlink(), path.mkdir()),
    ],
)
def test_a_damaged_record_counts_as_absent(store: Store, damage: Callable[[Path], object]) -> None:
    store.write(KEY, "kept")
    damage(store.path(KEY))
    assert store.read(KEY) is None
    assert list(store.records()) == []


def test_a_record_under_a_foreign_name_is_not_taken_for_another(store: Store) -> None:
    store.write(KEY, "kept")
    other = {**KEY, "threads": 3}
    store.path(KEY).rename(store.path(other))
    assert store.read(other) is None
    assert [record.key for record in store.records()] == [KEY]


def test_a_folder_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file" / "records")
    store.write(KEY, "lost")
    assert store.read(KEY) is None
    assert list(store.records()) == []


def test_endings_keep_two_stores_of_a_folder_apart(tmp_path: Path) -> None:
    one, two = Store(tmp_path, ".one.json"), Store(tmp_path, ".two.json")
    one.write(KEY, 1)
    assert two.read(KEY) is None
    assert list(two.records()) == []


def test_the_oldest_records_make_room(tmp_path: Path) -> None:
    store = Store(tmp_path, limit=2)
    for age, number in enumerate((7, 8, 9)):
        store.write({"number": number}, number)
        os.utime(store.path({"number": number}), (age, age))
    assert sorted(record.value for record in store.records()) == [8, 9]


def test_a_file_that_cannot_be_replaced_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]

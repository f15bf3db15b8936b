"""Run by `test_kills.py` in a process without threads, as it forks; prints what it looked at."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from killed_writer import killed_everywhere

from ckd.contract.errors import UsageError
from ckd.contract.leftovers import BUILDING, WRITING
from ckd.contract.whole_file import FileGroup, new_folder, replace_file, replacing
from ckd.contract.writer_lock import LOCK, one_writer

OLD, NEW = b"old" * 3000, b"new" * 5000


def old(folder: Path) -> None:
    (folder / "a").write_bytes(OLD)


def a_file(folder: Path) -> None:
    replace_file(folder / "a", NEW)


def check_file(folder: Path) -> str:
    content = (folder / "a").read_bytes()
    assert content in (OLD, NEW)
    return "new" if content == NEW else "old"


def a_file_that_is_kept(folder: Path) -> None:
    with replacing(folder / "a", before=folder / "before") as file:
        file.write(NEW)


def check_kept(folder: Path) -> str:
    first = folder / "a" if (folder / "a").exists() else folder / "before"
    content = first.read_bytes()
    assert content in (OLD, NEW)
    return "new" if content == NEW else "old"


def old_group(folder: Path) -> None:
    for name in ("mole.json", "mole_mask.png", "mole_map.png"):
        (folder / name).write_bytes(OLD)


def a_group(folder: Path) -> None:
    with FileGroup(folder) as group:
        group.remove("mole_map.png")
        group.write("mole_mask.png", NEW)
        group.write("mole.json", NEW)


def check_group(folder: Path) -> str:
    parts = [folder / "mole_mask.png", folder / "mole.json"]
    for path in parts:
        assert not path.exists() or path.read_bytes() in (OLD, NEW)
    if not parts[1].exists():
        return "absent"
    # Where the head is, all files of the group are of the same finding.
    assert parts[0].read_bytes() == parts[1].read_bytes()
    is_new = parts[1].read_bytes() == NEW
    assert (folder / "mole_map.png").exists() != is_new
    return "new" if is_new else "old"


def nothing(folder: Path) -> None:
    pass


def a_folder(folder: Path) -> None:
    with new_folder(folder / "bundle") as new:
        (new.path / "inner").mkdir(parents=True)
        for name in ("hashes.json", "inner/a.onnx"):
            replace_file(new.path / name, NEW)
        new.keep()


def check_folder(folder: Path) -> str:
    bundle = folder / "bundle"
    if not bundle.exists():
        return "absent"
    for name in ("hashes.json", "inner/a.onnx"):
        assert (bundle / name).read_bytes() == NEW
    return "new"


def a_lock(folder: Path) -> None:
    with one_writer(folder):
        a_file(folder)


Task = tuple[Callable[[Path], None], Callable[[Path], None], Callable[[Path], str], set[str]]
TASKS: dict[str, Task] = {
    "file": (old, a_file, check_file, {"old", "new"}),
    "file that is kept": (old, a_file_that_is_kept, check_kept, {"old", "new"}),
    "group": (old_group, a_group, check_group, {"old", "absent", "new"}),
    "folder": (nothing, a_folder, check_folder, {"absent", "new"}),
    "lock": (old, a_lock, check_file, {"old", "new"}),
}


def main(room: Path) -> None:
    """For each task the steps at which it was killed, once all states were as they must be."""
    steps: dict[str, list[str]] = {}
    for name, (start, write, check, expected) in TASKS.items():
        seen, steps[name] = set(), []
        for step, folder in killed_everywhere(write, start, room / name):
            seen.add(check(folder))
            steps[name].append(step)
            with one_writer(folder):  # the dead one holds no lock, and its leftovers go
                left = [p.name for p in folder.iterdir() if p.name.startswith((WRITING, BUILDING))]
                assert not left, (name, step, left)
                try:
                    write(folder) if name != "lock" else a_file(folder)
                except UsageError:
                    assert (folder / "bundle").exists()
            assert check(folder) == "new", (name, step)
            assert not (folder / LOCK).exists()
        assert seen == expected, (name, seen)
    print(json.dumps(steps))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

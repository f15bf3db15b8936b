"""What counts as a photograph in a folder: decided here for every command.

A name decides what is tried, as a folder holds much else; then its content decides what it is. What
looks like a picture and is no photograph is left out, counted by reason, and said in one line. A
file that is named directly is always tried. The reasons are listed in docs/photographs.md.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.picture.companions import Companions
from ckd.picture.formats import IMAGE_SUFFIXES, OTHER_SUFFIXES

#: Folders that systems and programs keep for themselves, besides those that begin with a dot.
_SYSTEM_FOLDERS = frozenset({"__macosx", "@eadir", "$recycle.bin", "lost+found"})
#: Why something is left out: what one and several are called, in the order of messages.
_REASONS = {
    "superpixels": ("superpixel map", "superpixel maps"),
    "mask": ("mask", "masks"),
    "result": ("result of this program", "results of this program"),
    "hidden": ("hidden file", "hidden files"),
    "hidden folder": ("hidden folder", "hidden folders"),
    "broken link": ("broken link", "broken links"),
    "special": ("pipe, socket or device", "pipes, sockets or devices"),
    "again": ("folder that is in the search already", "folders that are in the search already"),
    "inner": ("folder in it", "folders in it"),
    "deep": ("folder that lies too deep", "folders that lie too deep"),
    "closed": ("folder that cannot be opened", "folders that cannot be opened"),
}

#: Levels of folders that are searched.
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Photographs:
    """The photographs of a folder, sorted, and how much was left out for which reason.

    ``masks`` are files that were left out because they are masks.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: Mapping[str, int]
    masks: tuple[Path, ...] = ()

    @property
    def sentence(self) -> str:
        """Such as "photos: 3 files left out: 2 masks, 1 hidden file"; empty if none were."""
        if not self.left_out:
            return ""
        counts = self.left_out
        parts = [f"{n} {_REASONS[why][n > 1]}" for why in _REASONS if (n := counts.get(why))]
        formats = {why: n for why, n in sorted(counts.items()) if why not in _REASONS}
        if count := sum(formats.values()):
            what = "file of a format that is" if count == 1 else "files of formats that are"
            parts.append(f"{count} {what} not read ({', '.join(formats)})")
        total = sum(counts.values())
        return f"{self.folder}: {total} file{'s' * (total > 1)} left out: {', '.join(parts)}"


def photographs_in(folder: Path, *, below: bool = True, besides: Path | None = None) -> Photographs:
    """The photographs of a folder.

    Args:
        folder: to look in.
        below: also in the folders within it. Links to folders are followed, each folder is
            searched once, and none that holds ``folder``.
        besides: a folder of results within it: its pictures are results.

    Raises:
        InputError: the folder does not exist or cannot be opened.
    """
    return _Search(folder, below, besides, are_masks=False).found()


def masks_in(folder: Path) -> Photographs:
    """The files of a folder of masks, not of folders within it: no rule for photographs' masks.

    Raises:
        InputError: as `photographs_in`.
    """
    return _Search(folder, below=False, besides=None, are_masks=True).found()


@dataclass(slots=True)
class _Search:
    """One walk through a folder."""

    folder: Path
    below: bool
    besides: Path | None
    are_masks: bool
    left_out: Counter[str] = field(default_factory=Counter)
    searched: set[tuple[int, int]] = field(default_factory=set)
    links: list[tuple[Path, str]] = field(default_factory=list)
    masks: list[Path] = field(default_factory=list)

    def found(self) -> Photographs:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: no such folder; give one that holds images")
        root = self.folder.resolve()
        self.searched = {_identity(outer.stat()) for outer in root.parents}
        files = list(self._files(self.folder, is_root=True))
        for path, kind in self.links:  # after all folders, and links within them come to its end
            files += self._files(path, kind=kind)
        masks = tuple(sorted(self.masks))
        return Photographs(self.folder, tuple(sorted(files)), dict(self.left_out), masks)

    def _files(
        self, folder: Path, *, is_root: bool = False, kind: str = "", depth: int = 0
    ) -> Iterator[Path]:
        """Photographs of a folder; ``kind`` is what all of its pictures are, if that is known."""
        if depth > _DEEPEST:
            self.left_out["deep"] += 1
            return
        if self.besides is not None and not is_root and _is_same(folder, self.besides):
            kind = "result"
        try:
            if (identity := _identity(folder.stat())) in self.searched:
                self.left_out["again"] += 1
                return
            self.searched.add(identity)
            with os.scandir(folder) as entries:
                by_name = {entry.name: entry for entry in entries}
        except OSError as error:
            if is_root:
                raise InputError(f"{folder}: cannot be opened ({error.strerror})") from None
            self.left_out["closed"] += 1
            return
        inner: list[Path] = []
        files: list[Path] = []
        for name in sorted(by_name):
            path = folder / name
            why = self._why_not(path, by_name[name])
            if why == "folder":
                inner.append(path)
            elif why:
                self.left_out[why] += 1
            elif why is None and kind:
                self.left_out[kind] += 1
            elif why is None:
                files.append(path)
        companions = Companions(folder, frozenset(path.stem for path in files), set(by_name))
        for path in files:
            if why := None if self.are_masks else companions.kind_of(path):
                self.left_out[why] += 1
                self.masks += [path] * (why == "mask")
            else:
                yield path
        for path in inner:
            is_masks = path.name == "masks" and folder / "images" in inner
            within = kind or ("mask" if is_masks else "")
            if path.is_symlink():
                self.links.append((path, within))
            else:
                yield from self._files(path, kind=within, depth=depth + 1)

    def _why_not(self, path: Path, entry: os.DirEntry[str]) -> str | None:
        """Why an entry is no photograph by its name and kind; "" if nobody would take it for one.

        "folder" for a folder to search, None for a file that may be a photograph.
        """
        is_hidden = path.name.startswith(".")
        try:
            status = entry.stat()
        except OSError:
            may_be_one = path.suffix.lower() in {"", *IMAGE_SUFFIXES} and not is_hidden
            if entry.is_symlink():
                return "broken link" if may_be_one else ""
            return None if may_be_one and path.suffix else ""  # to be tried, and its fault told
        if stat.S_ISDIR(status.st_mode):
            if is_hidden or path.name.lower() in _SYSTEM_FOLDERS:
                return "hidden folder"
            return "folder" if self.below else "inner"
        suffix = path.suffix.lower()
        if suffix in OTHER_SUFFIXES and not is_hidden:
            return suffix
        if suffix not in IMAGE_SUFFIXES:
            return ""
        if is_hidden:  # such as "._lesion.jpg", which macOS keeps beside a file
            return "hidden"
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            return "special"
        return "superpixels" if path.stem.lower().endswith("_superpixels") else None


def _is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one place; `Path.resolve` fails on links that lead in a circle."""
    return os.path.realpath(one) == os.path.realpath(other)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino

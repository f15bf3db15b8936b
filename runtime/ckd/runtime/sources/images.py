"""Photographs that a command line names: single files, and all photographs below a folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ckd.contract.errors import InputError, UsageError
from ckd.picture.folders import photographs_in
from ckd.picture.formats import IMAGE_SUFFIXES

#: Told a line about what was left out.
Say = Callable[[str], None]


def image_files(paths: list[Path], results: Path, say: Say | None = None) -> Iterator[Path]:
    """Each path that is a file, and the sorted photographs below each path that is a folder.

    Images in ``results`` below such a folder are results of earlier runs, and are left out.

    Raises:
        InputError: a folder has no images.
        UsageError: ``results`` is one of the folders, or one of the files lies in it: a mask or a
            JSON file of the same name might be replaced.
    """
    for path in paths:
        folder = path if path.is_dir() else path.parent
        if os.path.realpath(folder) == os.path.realpath(results):
            raise UsageError(f"{path}: results cannot go among the images; name another --out")
        if path.is_dir():
            yield from images_below(path, results, say)
        else:
            yield path


def images_below(folder: Path, besides: Path | None = None, say: Say | None = None) -> list[Path]:
    """All photographs below a folder, sorted, without those in a folder ``besides`` within it.

    `ckd.picture.folders` decides what counts as one; ``say`` is told what it leaves out.

    Raises:
        InputError: the folder does not exist, or has no photographs.
    """
    found = photographs_in(folder, besides=besides)
    if not found.files:
        without = found.sentence.removeprefix(f"{folder}: ")
        raise InputError(
            f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})"
            + (f"; {without}" if without else "")
        )
    if say is not None and found.left_out:
        say(found.sentence)
    return list(found.files)

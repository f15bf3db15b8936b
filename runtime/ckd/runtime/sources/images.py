"""Photographs named on a command line: single files, and everything below a folder."""

from collections.abc import Iterator
from pathlib import Path

from ckd.contract.errors import InputError, UsageError
from ckd.picture.decode import IMAGE_SUFFIXES


def image_files(paths: list[Path], results: Path) -> Iterator[Path]:
    """The files as given, and all images in the folders as given, sorted.

    What lies in ``results`` below such a folder is an earlier answer, and is passed over.

    Raises:
        InputError: a folder without images.
        UsageError: ``results`` is such a folder itself.
    """
    for path in paths:
        if not path.is_dir():
            yield path
        elif path.resolve() == results.resolve():
            raise UsageError(f"{path}: results cannot go among the images; name another --out")
        else:
            yield from images_below(path, results)


def images_below(folder: Path, besides: Path | None = None) -> list[Path]:
    """All images below a folder, sorted, but for those in a folder ``besides`` within it.

    Raises:
        InputError: no such folder, or no images in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds images")
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir()
    )
    if besides is not None and folder.resolve() in (others := besides.resolve()).parents:
        found = [file for file in found if others not in file.resolve().parents]
    if not found:
        raise InputError(
            f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return found

"""Photographs that a command line names: single files, and all images below a folder."""

from collections.abc import Iterator
from pathlib import Path

from ckd.contract.errors import InputError, UsageError
from ckd.picture.decode import IMAGE_SUFFIXES


def image_files(paths: list[Path], results: Path) -> Iterator[Path]:
    """Each path that is a file, and the sorted images below each path that is a folder.

    Images in ``results`` below such a folder are results of earlier runs, and are left out.

    Raises:
        InputError: a folder has no images.
        UsageError: ``results`` is one of the folders.
    """
    for path in paths:
        if not path.is_dir():
            yield path
        elif path.resolve() == results.resolve():
            raise UsageError(f"{path}: results cannot go among the images; name another --out")
        else:
            yield from images_below(path, results)


def images_below(folder: Path, besides: Path | None = None) -> list[Path]:
    """All images below a folder, sorted, without those in a folder ``besides`` within it.

    Raises:
        InputError: the folder does not exist, or has no images.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one that holds images")
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir()
    )
    if besides is not None and folder.resolve() in (left_out := besides.resolve()).parents:
        files = [file for file in files if left_out not in file.resolve().parents]
    if not files:
        raise InputError(
            f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})"
        )
    return files

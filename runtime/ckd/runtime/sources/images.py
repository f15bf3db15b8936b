"""Photographs named on a command line: single files, and everything below a folder."""

from collections.abc import Iterator
from pathlib import Path

from ckd.contract.errors import UsageError
from ckd.contract.preprocess import IMAGE_SUFFIXES


def image_files(paths: list[Path], results: Path) -> Iterator[Path]:
    """The files as given, and all images in the folders as given, sorted.

    What lies in ``results`` below such a folder is an earlier answer, and is passed over.

    Raises:
        UsageError: a folder without images.
    """
    results = results.resolve()
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        if path.resolve() == results:
            raise UsageError(f"{path}: results cannot go among the images; name another --out")
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir()
        )
        if path.resolve() in results.parents:
            found = [file for file in found if results not in file.resolve().parents]
        if not found:
            raise UsageError(
                f"{path}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})"
            )
        yield from found

"""What an input is called where its name must not stand, as that may be the name of a patient.

The label is the number of the input in its run, from 1, and the first eight hex digits of the
SHA-256 of its bytes, as in "input-0003-1f2e3d4c". Who has the photograph finds it by `sha256sum`;
who has not learns nothing. A hash of the name could be guessed back by trying names of patients.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.picture.folders import photographs_in

_CHUNK_BYTES = 1 << 20
_DIGITS = 8


def input_label(number: int, path: Path) -> str:
    """The label of an input; without a hash, if the file cannot be read.

    Args:
        number: of the input in its run, from 1.
        path: of a file; of a folder of images its first one is hashed.
    """
    digits = _digits_of(path)
    return f"input-{number:04d}" + (f"-{digits}" if digits else "")


class InputNames:
    """The inputs of a run, by which name or label each is shown.

    Args:
        given: paths as they were typed: files and folders.
        are_hidden: show labels in place of names.

    `files` is to be set once all inputs are listed.
    """

    def __init__(self, given: Sequence[Path], *, are_hidden: bool) -> None:
        self._given = tuple(given)
        self.files = given
        self.are_hidden = are_hidden

    @property
    def files(self) -> Sequence[Path]:
        """All inputs, in their order."""
        return self._files

    @files.setter
    def files(self, files: Sequence[Path]) -> None:
        self._files = files
        self.__dict__.pop("_numbers", None)  # more is known now

    def shown(self, number: int) -> str:
        """Of the input of a number, from 1: its path as it was typed or found, or its label."""
        path = self.files[number - 1]
        return input_label(number, path) if self.are_hidden else str(path)

    def hidden(self, text: str) -> str:
        """A line for people in which labels stand in place of all paths of this run."""
        if not self.are_hidden:
            return text
        for name in self._numbers:
            if name in text:
                pattern = rf"(?<![\w/.-]){re.escape(name)}(?![\w-])"
                text = re.sub(pattern, lambda found: self._label(found[0]), text)
        return text

    def command(self, arguments: Sequence[str]) -> list[str]:
        """The arguments of a command line, likewise."""
        if not self.are_hidden:
            return [*arguments]
        known = {str(path) for path in self._given}
        shown = ((argument, str(Path(argument))) for argument in arguments)
        return [self._label(path) if path in known else argument for argument, path in shown]

    def _label(self, name: str) -> str:
        number = self._numbers[name]
        return "the folder of inputs" if number == 0 else input_label(number, Path(name))

    @cached_property
    def _numbers(self) -> Mapping[str, int]:
        """The number of each path and file name, the longest first; 0 for what was typed."""
        files = [*enumerate(self.files, 1)][::-1]
        known = {path.name: number for number, path in files if path.suffix}
        known |= {str(path): 0 for path in self._given}
        known |= {str(path): number for number, path in files}
        return {name: known[name] for name in sorted(known, key=len, reverse=True)}


def _digits_of(path: Path) -> str:
    try:
        if path.is_dir():
            path = photographs_in(path).files[0]
        digest = hashlib.sha256()
        if path.is_file():  # of a pipe no end may come
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
            return digest.hexdigest()[:_DIGITS]
    except (OSError, InputError, IndexError):
        pass
    return ""

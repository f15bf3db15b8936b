"""A command of a terminal, called here; and a bundle as one file."""

import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ckd import console


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cli: Any, *words: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["ckd", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        console.run(cli)
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err

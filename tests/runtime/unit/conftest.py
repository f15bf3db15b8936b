"""`ckd-run` in the test's process."""

import sys
from pathlib import Path
from typing import Any

import pytest

from ckd import console
from ckd.runtime.cli import cli


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "progress_bar", lambda unit: lambda done, total: None)

    def command(*words: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["ckd-run", *map(str, words)])
        try:
            console.run(cli)
            ended: object = 0
        except SystemExit as end:
            ended = end.code or 0
        out, err = capsys.readouterr()
        assert ended == code, err
        return out, err

    return command

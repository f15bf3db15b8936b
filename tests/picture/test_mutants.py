"""Damaged files of every format are read or refused, and start no program.

`python tests/support/mutator.py` runs many more.
"""

import os
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest
from mutator import outcomes, seeds

from ckd.picture.formats import READ, format_of


@pytest.fixture(scope="module")
def sound() -> dict[str, list[bytes]]:
    return seeds()


def test_there_are_seeds_of_every_format(sound: dict[str, list[bytes]]) -> None:
    pytest.importorskip("pydicom")
    assert set(sound) | {"AVIF"} == set(READ)
    for name, files in sound.items():
        assert {format_of(content) for content in files} == {name}


@pytest.mark.parametrize("name", READ)
def test_mutants_are_read_or_refused(
    tmp_path: Path, sound: dict[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name not in sound:
        pytest.skip(f"{name} is not installed")
    if name == "HEIC":
        pytest.importorskip("pi_heif")

    def start(*arguments: object, **options: object) -> NoReturn:
        raise AssertionError(f"a program would be started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(os, "system", start)
    counted = outcomes(name, sound[name], 100, tmp_path / "photo.jpg")
    assert counted["refused"] > 10
    assert counted.total() == 100

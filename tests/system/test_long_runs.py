"""Soak, load and fuzz for two minutes each; `make soak MINUTES=30` runs one of them longer."""

from pathlib import Path

import pytest
from fuzz import fuzz
from load import load
from long_run import LongRun
from soak import soak

MINUTES = 2.0


@pytest.mark.system
@pytest.mark.timeout(900)
@pytest.mark.parametrize("run", [soak, load, fuzz])
def test_nothing_is_lost_wrong_or_growing(run: LongRun, tmp_path: Path) -> None:
    run(MINUTES, tmp_path)

"""The fuzz test keeps what fails, finds kinds that test nothing, and its cases can be repeated."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fuzz
import pytest
import strategies
from damage import Sparing, damaged
from fuzz_trust import TrustCases
from hypothesis import strategies as st

from ckd.contract.errors import InputError

HERE = Path(__file__).parent
PATHS = [str(HERE.parent / "support"), str(HERE)]
HANGS = """
import time
import fuzz

def case(rng, folder):
    (folder / "input").write_bytes(b"which hangs")
    return lambda: time.sleep(600)

fuzz.MAX_S = 0.5
fuzz.run_target("zip", case, 1.0, seed=7, first=3)
"""


def test_an_input_that_hangs_ends_the_process_and_is_left(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*PATHS, *filter(None, sys.path)])},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "Timeout" in done.stderr
    assert (tmp_path / "runs/fuzz/zip_7_3/input").read_bytes() == b"which hangs"


def test_only_inputs_that_fail_are_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def case(rng: random.Random, folder: Path) -> Callable[[], object]:
        (folder / "input").write_bytes(b"x")

        def read() -> None:
            if folder.name == "zip_0_0":
                raise InputError("no")
            if folder.name != "zip_0_1":
                raise KeyError("a fault")

        return read

    outcome = fuzz.run_target("zip", case, 60.0, seed=0, first=0)
    assert outcome.counted == {"refused": 1, "read": 1, "faults": 5}
    assert sorted(path.name for path in (tmp_path / "runs/fuzz").iterdir()) == [
        f"zip_0_{number}" for number in range(2, 7)
    ]
    assert "--target zip --seed 0 --first 2" in outcome.faults[0]


def test_a_kind_whose_sound_input_is_refused_is_named(tmp_path: Path) -> None:
    def case(rng: random.Random, folder: Path) -> Callable[[], object]:
        content = damaged(rng, b"sound")
        assert content == b"sound"

        def read() -> None:
            raise InputError("not what it reads")

        return read

    with pytest.raises(AssertionError, match="zip: a sound input is refused"):
        fuzz.read_sound({"zip": case}, tmp_path)


@pytest.mark.parametrize("kind", ["signature", "x509", "keys"])
def test_a_case_depends_on_its_number_alone(kind: str, tmp_path: Path) -> None:
    """Although keys and signatures are made anew."""
    inputs = []
    for name in ("one", "other"):
        folder = tmp_path / name
        folder.mkdir()
        case = TrustCases(folder).kinds[kind]
        for number in range(20):
            place = folder / f"case{number}"
            place.mkdir()
            case(random.Random(number), place)
        inputs.append([
            path.read_bytes() for path in sorted(folder.glob("case*/*"))
        ])  # fmt: skip
    assert len(inputs[0]) == 20
    assert inputs[0] == inputs[1]


def test_nothing_is_damaged_with_a_sparing_source_of_chance() -> None:
    assert all(damaged(Sparing(number), b"sound") == b"sound" for number in range(20))


def test_what_fails_need_not_be_made_smaller() -> None:
    """Which may take five minutes."""
    tried = []

    def fails(number: int) -> None:
        tried.append(number)
        raise KeyError("a fault")

    with pytest.raises(KeyError):
        strategies.tried(fails, st.integers(0, 2**64), 1, 50, shrinks=False)
    assert len(tried) <= 3  # it is repeated, to see whether it fails again


@pytest.mark.parametrize("target", ["signature", "stream"])
def test_it_can_be_guided_by_coverage(target: str, tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    done = subprocess.run(
        [sys.executable, HERE / "fuzz_guided.py", target, tmp_path / "corpus", "-runs=100"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 100 runs" in done.stderr

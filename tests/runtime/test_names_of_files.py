"""What photographs may be called: nothing in a name breaks a line, a terminal or a folder's run."""

from pathlib import Path

import numpy as np
import pytest
from findings import made_finding

from ckd import console
from ckd.contract import printable
from ckd.contract.errors import InputError
from ckd.runtime.sinks import ResultFolder, print_finding

MASK_HW = np.ones((16, 16), np.bool_)
FINDING = made_finding(MASK_HW, MASK_HW, {"MEL": 0.25, "NEV": 0.75})


def test_a_name_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b]0;title\x07\nerror: b\u202egnp.png"
    print_finding(name, FINDING, as_json=False)
    console.say(f"note: {name}: text")
    with pytest.raises(SystemExit):
        console.run(lambda: fail_on(name))
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1
    assert captured.err.count("\n") == 2
    for line in (captured.out, *captured.err.splitlines()):
        assert r"a\x1b]0;title\x07\nerror: b\u202egnp.png" in line
    assert "\x1b" not in captured.err
    assert printable("naïve 早\u202f.png") == "naïve 早\u202f.png"


def fail_on(name: str) -> None:
    raise InputError(f"{name}: no such file")


def test_a_name_that_is_too_long_costs_that_photograph_alone(tmp_path: Path) -> None:
    image_HWC = np.zeros((16, 16, 3), np.uint8)
    with ResultFolder(tmp_path, ("MEL", "NEV"), {}) as folder:
        with pytest.raises(InputError, match=r"x\.png: its name is too long to call results"):
            folder.add("x" * 251 + ".png", FINDING, image_HWC)
        folder.add("mole.png", FINDING, image_HWC)
    assert (tmp_path / "findings.csv").read_text().splitlines()[1:] == [
        "mole,answer,,,,,,,NEV,256,"
    ]

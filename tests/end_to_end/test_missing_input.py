"""What is not there ends every command with one error and the code that docs/errors.md gives."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from ckd import console
from ckd.benchmarks.subjects import untrained_run

ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"
#: Command, with IN for what is missing and RUN for a run that is there -> exit code.
COMMANDS = {
    "run image IN --backend onnxruntime": 1,
    "calibrate ranges IN": 1,
    "train data check IN": 1,
    "train fit --recipe ckdnet-tiny --weights none --out out --data IN": 1,
    "train crossvalidate --recipe ckdnet-tiny --weights none --out out --data IN": 1,
    "train evaluate RUN --data IN": 1,
    "train evaluate IN --data IN": 1,
    "export bundle IN --out out": 1,
    "bench latency --run IN": 1,
    "run info IN": 5,
    "run doctor IN": 5,
    "export verify IN": 5,
    "export engine IN": 5,
    "export engine IN --certificate": 5,
    "bench latency --bundle IN": 5,
    "run video IN": 6,
    "run camera IN --view none": 6,
}
PACKAGES = {"run": "runtime", "calibrate": "calibration", "bench": "benchmarks"}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run("ckdnet-tiny", tmp_path_factory.mktemp("runs") / "tiny")


@pytest.mark.parametrize("there", ["nothing", "empty folder"])
@pytest.mark.parametrize("command", COMMANDS)
def test_missing_input_has_one_code_everywhere(
    run_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    there: str,
) -> None:
    if there == "empty folder":
        (tmp_path / "given").mkdir()
    monkeypatch.chdir(tmp_path)
    tool, *arguments = command.replace("IN", "given").replace("RUN", str(run_folder)).split()
    monkeypatch.setattr(sys, "argv", [f"ckd-{tool}", *arguments])
    cli = importlib.import_module(f"ckd.{PACKAGES.get(tool, tool)}.cli").cli
    with pytest.raises(SystemExit) as ended:
        console.run(cli)
    assert ended.value.code == COMMANDS[command]
    printed = capsys.readouterr()
    (error,) = (line for line in printed.err.splitlines() if line.startswith("error: "))
    assert "given" in error + printed.out  # the doctor's list


def test_the_codes_are_the_documented_ones() -> None:
    documented = re.findall(r"^\| (\d+) \|", ERRORS.read_text(), re.MULTILINE)
    assert {str(code) for code in COMMANDS.values()} <= set(documented)

"""What is told of a defect holds nothing of what the program worked on."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from ckd import console
from ckd.console.crash import crash_text

SECRET = "Mueller_Anna.jpg"


def fail_on(name: str) -> None:
    try:
        Path(f"/nowhere/{name}").read_bytes()
    except OSError as error:
        try:
            raise KeyError(name)
        except KeyError:
            raise ValueError(f"{name}: odd") from error


def test_a_defect_tells_kinds_and_places_and_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        console.run(lambda: fail_on(SECRET))
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert SECRET not in said
    assert "FileNotFoundError, ENOENT (No such file or directory)" in said
    assert said.splitlines()[0].startswith("Traceback")
    assert said.splitlines()[-1] == "ValueError"
    assert f"{Path(__file__).name}" in said


def test_errors_that_led_to_one_come_first_and_a_circle_ends() -> None:
    one, other = ValueError(SECRET), TypeError(SECRET)
    one.__cause__, other.__cause__ = other, one
    assert crash_text(one).splitlines()[1:] == ["TypeError", "ValueError"]


def test_threads_destructors_and_logs_tell_no_more() -> None:
    program = f"""
import logging, threading
from ckd import console
def fail():
    raise ValueError("{SECRET}\\x1b[31m")
class Odd:
    def __del__(self):
        fail()
def command():
    thread = threading.Thread(target=fail, name="{SECRET}")
    thread.start()
    thread.join()
    Odd()
    try:
        fail()
    except ValueError:
        logging.getLogger("ckd").error("it failed\\nerror: forged \\x1b[2J", exc_info=True)
console.run(command)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
    said = done.stderr.decode()
    assert done.returncode == 0
    assert SECRET not in said
    assert "\x1b" not in said
    assert said.count("ValueError") == 3
    assert "ERROR: it failed\\nerror: forged \\x1b[2J\n" in said


def test_an_applications_own_logging_stays() -> None:
    before = [*logging.getLogger().handlers]
    console.run(lambda: None)
    assert logging.getLogger().handlers == before

"""What all command lines share: how they end, and that no progress bar outlives them."""

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typing_extensions import override

from ckd import console
from ckd.contract.errors import InputError, Interrupted, UsageError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:  # which are ignored where tests run in the background, or under nohup
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_bars_are_taken_down_before_an_error_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed: list[str] = []

    class Bar:
        def __init__(self, **settings: Any) -> None:
            pass

        def add_task(self, unit: str, total: int | None) -> int:
            return 0

        def start(self) -> None:
            pass

        def stop(self) -> None:
            printed.append(capsys.readouterr().err)

    monkeypatch.setattr("rich.progress.Progress", Bar)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    def command() -> None:
        console.progress_bar("images")
        raise InputError("a.jpg: unreadable")

    with pytest.raises(SystemExit) as ended:
        console.run(command)
    assert ended.value.code == 1
    assert printed == [""]
    assert capsys.readouterr().err == "error: a.jpg: unreadable\n"


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (OSError(28, "No space left on device", "out/a.png"), 1, "error: out/a.png: No space left"),
        (
            OSError(28, "No space left on device", "out/a.png"),
            1,
            "error: out/a.png: No space left on device; free some space, or write to another disk",
        ),
        (
            ModuleNotFoundError("torch", name="torch"),
            3,
            "error: torch is not installed; pip install '.[export]'",
        ),
        (
            ModuleNotFoundError("onnx", name="onnx"),
            3,
            "error: onnx is not installed; pip install '.[calibrate]'",
        ),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    raised: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        console.run(command)
    assert ended.value.code == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_complaints_about_what_was_typed_or_set_command_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = console.app("A command with an option.")

    @app.command()
    def count(number: int = typer.Option(0, envvar="CKD_NUMBER")) -> None:
        raise AssertionError

    monkeypatch.setenv("CKD_NUMBER", "3\x1b[31m\u202e")
    for arguments in (["count"], ["count", "--\x1b[2J"], ["count", "x\x9b1m"], ["\x1b]0;a\x07"]):
        with pytest.raises(SystemExit) as ended:
            console.run(partial(app, arguments))
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert "\\x" in said
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & {*said}


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    app = console.app("A command that is interrupted.")

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        console.run(lambda: app(["wait"]))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_command_as_ctrl_c_does(
    sent: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[str] = []

    def command() -> None:
        try:
            os.kill(os.getpid(), sent)
            signal.sigtimedwait([], 10)
        finally:
            ended.append("temporary files are removed")

    with pytest.raises(SystemExit) as stopped:
        console.run(command)
    assert stopped.value.code == code
    assert ended == ["temporary files are removed"]
    assert capsys.readouterr().err == "interrupted\n"


def test_long_work_that_can_be_taken_up_has_the_code_of_its_signal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 10)
        except KeyboardInterrupt:
            raise Interrupted("the same command goes on") from None

    with pytest.raises(SystemExit) as stopped:
        console.run(command)
    assert stopped.value.code == 143
    assert capsys.readouterr().err == "error: the same command goes on\n"


def test_a_second_signal_does_not_break_into_the_clean_up(
    capfd: pytest.CaptureFixture[str],
) -> None:
    ended: list[str] = []

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 10)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            signal.sigtimedwait([], 0)
            ended.append("temporary files are removed")

    with pytest.raises(SystemExit) as stopped:
        console.run(command)
    assert stopped.value.code == 143
    assert ended == ["temporary files are removed"]
    assert capfd.readouterr().err == "cleaning up; once more ends this at once\ninterrupted\n"


def test_the_third_signal_ends_a_clean_up_that_does_not() -> None:
    program = """
import os, signal, time
from ckd import console
def command():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(9)
    finally:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
console.run(command)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=50)
    assert ended.returncode == 143
    assert b"Traceback" not in ended.stderr


def test_a_terminal_that_was_closed_ends_neither_the_clean_up_nor_its_exit_code() -> None:
    """It sends SIGHUP, mostly twice, and takes no line any more."""
    program = """
import os, signal, sys, time
from ckd import console
signal.signal(signal.SIGHUP, signal.SIG_DFL)
def command():
    print("begun", flush=True)
    sys.stdin.read()
    console.say("a line for nobody")
    try:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(9)
    finally:
        os.kill(os.getpid(), signal.SIGHUP)
        time.sleep(0)
        print("cleaned up")
console.run(command)
"""
    ours, theirs = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=-1, stdout=-1, stderr=theirs, text=True
    ) as process:
        os.close(theirs)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.close(ours)
        said, _ = process.communicate(timeout=50)
    assert (process.returncode, said) == (129, "cleaned up\n")


def test_a_log_on_a_full_disk_ends_nothing() -> None:
    program = "from ckd import console; console.run(lambda: console.say('a line') or print('done'))"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-c", program], stdout=-1, stderr=full, text=True, timeout=50
        )
    assert (ended.returncode, ended.stdout) == (0, "done\n")


@pytest.mark.parametrize(
    ("program", "code", "line"),
    [
        ("console.run(lambda: print('result'))", 1, "error: No space left on device; free some"),
        ("console.run(lambda: [print('result'), sys.exit(0)])", 1, "error: No space left on dev"),
        ("console.run(lambda: print('result', flush=True))", 1, "error: No space left on device;"),
        ("console.run(lambda: [print('result'), sys.exit(5)])", 5, ""),
    ],
)
def test_results_that_cannot_be_printed_are_an_error_as_any_other(
    monkeypatch: pytest.MonkeyPatch, program: str, code: int, line: str
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is printed waits in the process
    with open("/dev/full", "w") as full:  # noqa: PTH123
        ended = subprocess.run(
            [sys.executable, "-c", f"import sys; from ckd import console; {program}"],
            stdout=full, stderr=-1, text=True, timeout=50,
        )  # fmt: skip
    assert (ended.returncode, ended.stderr[: len(line)]) == (code, line)
    assert ended.stderr.count("\n") == bool(line)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """As SIGHUP is under nohup, and SIGINT in the background of a script."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)

    def command() -> None:
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)

    console.run(command)  # and is not interrupted
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_command_that_only_a_signal_ends_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    app = console.app("A command that is watched.")

    @app.command()
    @console.ends_when_stopped
    def watch(number: int) -> None:
        os.kill(os.getpid(), number)
        signal.sigtimedwait([], 10)

    for number in SIGNALS:
        with pytest.raises(SystemExit) as ended:
            console.run(partial(app, ["watch", str(int(number))]))
        assert ended.value.code == 0
        assert capsys.readouterr().err == "interrupted\n"


def test_a_command_may_end_by_itself_when_it_is_told_to_stop() -> None:
    """As the live view of a camera does, which has no other end."""
    ended: list[str] = []

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 10)
        except KeyboardInterrupt:
            ended.append("cleanly")

    console.run(command)
    assert ended == ["cleanly"]


@pytest.mark.parametrize("only_signals_end_it", [False, True])
def test_what_a_library_makes_of_a_signal_is_an_interruption(
    capsys: pytest.CaptureFixture[str], only_signals_end_it: bool
) -> None:
    """ONNX Runtime calls it a failure of its own if it comes while it is imported."""

    def command() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None

    if only_signals_end_it:
        console.run(console.ends_when_stopped(command))
    else:
        with pytest.raises(SystemExit) as ended:
            console.run(command)
        assert ended.value.code == 128 + signal.SIGTERM
    said = capsys.readouterr().err
    assert said == "interrupted (ImportError)\n"
    with pytest.raises(SystemExit) as ended:
        console.run(console.ends_when_stopped(partial(_fail, RuntimeError("a defect"))))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Traceback")


@pytest.mark.parametrize("is_closed", [False, True])
def test_work_goes_on_where_nothing_can_be_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_closed: bool
) -> None:
    """A log on a full disk, and `2>&-`."""

    class FullLog(io.StringIO):
        @override
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sys, "stderr", None if is_closed else FullLog())
    console.say("the recording ends here, the analysis goes on")
    console.progress_bar("images")(1, 2)
    with pytest.raises(SystemExit) as ended:
        console.run(partial(_fail, InputError("a.jpg: unreadable")))
    assert ended.value.code == 1
    assert capsys.readouterr().out == ""  # where results go


def _fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize(
    "arguments", [["http://anna:secret@cam/v"], ["a.jpg", "rtsp://anna:secret@cam/v"],
                  ["a.jpg", "--out", "RTSP://anna:secret@cam"]],
)  # fmt: skip
def test_an_address_in_place_of_a_file_is_refused_and_not_shown(
    arguments: list[str], below: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    commands = console.app("About")
    group = console.group("Below") if below else commands
    if below:
        commands.add_typer(group, name="below")

    @group.command("read")
    def read(
        paths: Annotated[list[Path], typer.Argument()],
        out: Annotated[Path, typer.Option()] = Path("out"),
    ) -> None:
        raise InputError(f"{paths}, {out}: no such file")

    words = [*(["below"] if below else []), "read"]
    with pytest.raises(UsageError, match="an address was given, which may hold a password") as told:
        commands([*words, *arguments], standalone_mode=False)
    assert "secret" not in str(told.value)
    (tmp_path / "http:").mkdir()
    (tmp_path / "http:/a.jpg").touch()
    with pytest.raises(InputError, match=r"http:/a\.jpg"):
        commands([*words, "http:/a.jpg", "C:/a.jpg"], standalone_mode=False)

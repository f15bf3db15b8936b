"""What all command lines share: how they end, and that no progress bar outlives them."""

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ckd import console
from ckd.contract.errors import InputError


@pytest.fixture(autouse=True)
def sigterm_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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


def test_an_interrupted_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    app = console.app("A command that is interrupted.")

    @app.command()
    def wait() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        console.run(lambda: app(["wait"]))
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_sigterm_ends_a_command_as_ctrl_c_does(
    sent: signal.Signals, capsys: pytest.CaptureFixture[str]
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
    assert stopped.value.code == 130
    assert ended == ["temporary files are removed"]
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

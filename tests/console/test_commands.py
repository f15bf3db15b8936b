"""What all command lines share: errors become one line, and a progress bar never outlives them."""

from types import SimpleNamespace

import pytest

from ckd import console
from ckd.console import progress
from ckd.contract.errors import InputError


def test_bars_are_taken_down_before_an_error_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    bar = SimpleNamespace(stop=lambda: told.append(capsys.readouterr().err))
    monkeypatch.setattr(progress, "_bars", [bar])

    def command() -> None:
        raise InputError("a.jpg: unreadable")

    with pytest.raises(SystemExit) as ended:
        console.run(command)
    assert ended.value.code == 1
    assert told == [""]
    assert capsys.readouterr().err == "error: a.jpg: unreadable\n"


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (OSError(28, "No space left on device", "out/a.png"), 1, "error: out/a.png: No space left"),
        (ModuleNotFoundError("torch", name="torch"), 3, "error: torch is not installed; pip"),
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

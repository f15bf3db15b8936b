import io

import pytest

from ckd.console.tables import print_table, text_table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("columns", ["20", "80"])
def test_in_a_pipe_no_cell_is_cut_or_broken(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    path = "/a/folder/of a long name/" + "x" * 300
    print_table(("name", "MB", "path"), [("one", "2.5", path), ("two", "12.5", "[b]y[/b]")], ["MB"])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name    MB  path", f"one    2.5  {path}", "two   12.5  [b]y[/b]"]


def test_without_rows_the_head_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "MB"), [])
    assert capsys.readouterr().out.split() == ["name", "MB"]


def test_a_narrow_terminal_breaks_cells_and_cuts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    print_table(("name", "path"), [("one", "x" * 50)])
    lines = terminal.getvalue().splitlines()
    assert sum(line.count("x") for line in lines) == 50
    assert len(lines) > 2


def test_a_cell_commands_no_terminal() -> None:
    assert text_table(("", ""), [("a\x1b[31m", "b\u202e\nc")]) == r"a\x1b[31m  b\u202e\nc"

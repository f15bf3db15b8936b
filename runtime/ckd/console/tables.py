"""Tables that commands print for people."""

import io
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from ckd.contract.escapes import printable

if TYPE_CHECKING:
    from rich.table import Table

_NO_LIMIT = 1_000_000


def print_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> None:
    """Print a table on stdout.

    A terminal breaks cells that are too long for it into several lines. Anywhere else, as in a pipe
    or a file, the table is as wide as its content, so that no cell is cut or broken.

    Args:
        head: titles of the columns; without titles the table has no head.
        rows: cells, one for each column.
        numbers: titles of the columns that are aligned to the right.
    """
    if not sys.stdout.isatty():
        print(text_table(head, rows, numbers))
        return
    from rich.console import Console

    Console().print(_table(head, rows, numbers))


def text_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> str:
    """A table as lines of text, as wide as its content; arguments as of `print_table`."""
    from rich.console import Console
    from rich.measure import Measurement

    table, text = _table(head, rows, numbers), io.StringIO()
    console = Console(file=text, force_terminal=False, color_system=None)  # FORCE_COLOR
    unlimited = console.options.update(max_width=_NO_LIMIT)
    console.width = Measurement.get(console, unlimited, table).maximum
    console.print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=any(head))
    for title in head:
        table.add_column(
            Text(title), justify="right" if title in numbers else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    return table

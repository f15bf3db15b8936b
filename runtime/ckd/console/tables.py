"""Tables that commands print for people."""

import io
import sys
from collections.abc import Collection, Iterable, Sequence


def print_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[str] = ()
) -> None:
    """Print a table on stdout.

    A terminal breaks cells that are too long for it into several lines. Anywhere else, as in a pipe
    or a file, the table is as wide as its content, so that no cell is cut or broken.

    Args:
        head: titles of the columns.
        rows: cells, one for each column.
        numbers: titles of the columns that are aligned to the right.
    """
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in head:
        table.add_column(
            Text(title), justify="right" if title in numbers else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*map(Text, row))
    if sys.stdout.isatty():
        Console().print(table)
        return
    text = io.StringIO()
    console = Console(file=text)
    unlimited = console.options.update(max_width=1_000_000)
    console.width = Measurement.get(console, unlimited, table).maximum
    console.print(table)
    for line in text.getvalue().splitlines():
        print(line.rstrip())

"""Reading of the CSV files of data sets; errors name the line.

A table that cannot be understood is refused as a whole, because a wrong label is worse than a
training that does not start.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckd.contract.errors import InputError
from ckd.picture.formats import IMAGE_SUFFIXES

#: Names of the column that holds the image's id.
ID_COLUMNS = ("image", "image_id")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table; ``cells`` by column name in lower case, without outer blanks."""

    table: Path
    line: int
    cells: dict[str, str]

    def flag(self, column: str) -> bool:
        """The truth of a cell that holds 0 or 1, in any spelling of these numbers.

        Raises:
            InputError: the cell holds anything else, such as a probability.
        """
        text = self.cells[column]
        try:
            value = float(text)
        except ValueError:
            raise self.error(f"column {column!r} holds {text!r}, expected 0.0 or 1.0") from None
        if value not in (0.0, 1.0):
            raise self.error(f"column {column!r} holds {text!r}, expected 0.0 or 1.0")
        return value == 1.0

    def error(self, what: str) -> InputError:
        """An `InputError` about this line, to be raised."""
        return InputError(f"{self.table}, line {self.line}: {what}; correct this line of the table")


def find_table(root: Path, name: str) -> Path | None:
    """``root/name``, also without suffix, or in a folder of the same name, as archives unpack.

    Raises:
        InputError: what has that name is a pipe or device.
    """
    stem = Path(name).stem
    candidates = (root / name, root / stem / name, root / stem)
    return next((path for path in candidates if is_table(path)), None)


def is_table(path: Path) -> bool:
    """Whether there is a file of that name.

    Raises:
        InputError: it is a pipe or device, reading which would wait for ever.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is a pipe or device, expected a table in a CSV file")
    return path.is_file()


def read_table(
    path: Path, required: Collection[str], header: Sequence[str] | None = None
) -> dict[str, Row]:
    """Rows of a CSV file by image id, in the file's order.

    Args:
        path: a comma-separated UTF-8 file.
        required: columns that the table must have besides the id, in lower case.
        header: names of the columns if the first line does not name them.

    Raises:
        InputError: the file is not text, holds no row, a column is missing or there twice, a line
            has too few or too many cells, or an id is empty or repeated.
    """
    lines = _lines(path)
    if header is None:
        if not lines:
            raise InputError(f"{path}: the table is empty; copy the file again")
        header = [name.strip().lower() for name in lines.pop(0)[1]]
    id_column = next((name for name in ID_COLUMNS if name in header), None)
    missing = sorted(set(required) - set(header))
    if id_column is None:
        missing.insert(0, ID_COLUMNS[0])
    if id_column is None or missing:
        raise InputError(
            f"{path}, line 1: no column {', '.join(map(repr, missing))} among "
            f"{', '.join(map(repr, header))}; name the columns in the first line, "
            "separated by commas"
        )

    if twice := next((name for name in header if name and header.count(name) > 1), None):
        raise InputError(
            f"{path}, line 1: {header.count(twice)} columns are named {twice!r}, so it is not "
            "clear which one counts; remove or rename the others"
        )

    if not lines:
        raise InputError(f"{path}: the table has no rows; copy the file again")

    rows: dict[str, Row] = {}
    for line, cells in lines:
        row = Row(path, line, dict(zip(header, (cell.strip() for cell in cells), strict=False)))
        if len(cells) != len(header):
            raise row.error(f"{len(cells)} cells, expected {len(header)}")
        image_id = without_image_suffix(row.cells[id_column])
        if not image_id:
            raise row.error("the image's name is empty")
        if image_id in rows:
            raise row.error(f"{image_id} is already on line {rows[image_id].line}")
        rows[image_id] = row
    return rows


def without_image_suffix(name: str) -> str:
    """``lesion.jpg`` and ``lesion`` name the same image; ``mole.v2`` keeps its dot."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and cells of each line that is not blank; a byte order mark is dropped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text; save the table as CSV (UTF-8)") from error
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: {error}; correct this line") from error

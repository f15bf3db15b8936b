"""Results are whole or absent, one process writes them, and a photograph costs itself alone."""

import os
import resource
from pathlib import Path

import numpy as np
import pytest
from disk_order import watched
from findings import made_finding

from ckd.contract.errors import UsageError
from ckd.contract.leftovers import WRITING
from ckd.runtime.sinks import NotWritten, ResultFolder

IMAGE_HWC = np.zeros((16, 16, 3), np.uint8)
MASK_HW = np.ones((16, 16), np.bool_)
FINDING = made_finding(MASK_HW, MASK_HW, {"MEL": 0.25, "NEV": 0.75})
FILES = ["findings.csv", "mole.json", "mole_mask.png", "mole_overlay.png", "predictions.csv"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(folder: Path) -> list[str]:
    return (folder / "findings.csv").read_text().splitlines()[1:]


def test_no_name_is_given_before_its_bytes_are_on_the_disk(tmp_path: Path) -> None:
    with watched() as order, ResultFolder(tmp_path, ("MEL", "NEV"), {}) as folder:
        folder.add("mole.png", FINDING, IMAGE_HWC)
    assert order.events == [
        "sync *", "rename run.json",
        "sync disk", "rename mole_overlay.png", "rename mole_mask.png", "rename mole.json",
        "sync disk", "sync folder",
    ]  # fmt: skip
    assert names(tmp_path) == [*FILES, "run.json"]


def test_two_do_not_write_in_one_folder(tmp_path: Path) -> None:
    with (
        ResultFolder(tmp_path, ("MEL",), {}),
        pytest.raises(UsageError, match=r"another process works in it: .*--out"),
    ):
        ResultFolder(tmp_path, ("MEL",), {})
    ResultFolder(tmp_path, ("MEL",), {}).close()


def test_what_a_killed_process_had_begun_is_removed(tmp_path: Path) -> None:
    (tmp_path / f"{WRITING}mole.json-1-ab").touch()
    ResultFolder(tmp_path, ("MEL",), {}).close()
    assert names(tmp_path) == ["findings.csv", "predictions.csv", "run.json"]


def test_results_that_cannot_be_written_leave_nothing_of_that_photograph(tmp_path: Path) -> None:
    (tmp_path / "mole_mask.png").mkdir()  # as another process may have
    with ResultFolder(tmp_path, ("MEL", "NEV"), {}) as folder:
        with pytest.raises(
            NotWritten,
            match=r"mole\.png: its results cannot be written: .*/mole_mask\.png: Is a directory; "
            r"a folder has that name",
        ):
            folder.add("mole.png", FINDING, IMAGE_HWC)
        folder.add_failure("mole.png", "not_written")
        assert not (tmp_path / "mole.json").exists()
        (tmp_path / "mole_mask.png").rmdir()
        folder.add("mole.png", FINDING, IMAGE_HWC)  # under the same name, which is free again
    assert rows(tmp_path) == ["mole.png,failed,not_written,,,,,,,,", "mole,answer,,,,,,,NEV,256,"]
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 2
    assert names(tmp_path) == [*FILES, "run.json"]


def test_a_link_in_the_place_of_a_table_is_replaced_and_a_pipe_is_not_waited_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "notes").write_text("precious")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "findings.csv").symlink_to(tmp_path / "notes")
    os.mkfifo(tmp_path / "out" / "predictions.csv")
    with ResultFolder(tmp_path / "out", ("MEL", "NEV"), {}) as folder:
        folder.add("mole.png", FINDING, IMAGE_HWC)
    assert (tmp_path / "notes").read_text() == "precious"
    assert rows(tmp_path / "out")[0].startswith("mole,")
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("image,MEL,NEV")


def test_a_row_is_in_both_tables_or_in_none(tmp_path: Path) -> None:
    with ResultFolder(tmp_path, ("MEL", "NEV"), {}) as folder:
        folder.add_row("frame_1", FINDING)
        before = [(tmp_path / name).read_bytes() for name in ("predictions.csv", "findings.csv")]
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # The first table has room for the row, the second one for a part of it.
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before[1]) + 5, hard))
        try:
            with pytest.raises(OSError, match=r"File too large: '.*/findings\.csv'"):
                folder.add_row("frame_2", FINDING)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        after = [(tmp_path / name).read_bytes() for name in ("predictions.csv", "findings.csv")]
        assert after == before
        folder.add_row("frame_3", FINDING)
    assert [row.partition(",")[0] for row in rows(tmp_path)] == ["frame_1", "frame_3"]

"""In `ckd-run image` what goes wrong with one photograph costs that one, not the batch."""

from pathlib import Path

import pytest
from tests.end_to_end.ckd_run import BAD_IMAGES, COMMAND, GOOD_IMAGES, ckd_run, make, refused, rows

from ckd.contract.writer_lock import one_writer

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")

LONG = "x" * 251 + ".png"


def test_a_photograph_costs_itself_alone_and_the_table_says_why(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    write = GOOD_IMAGES["colour.png"]
    names = (LONG, "taken.png", "well.png")
    folder = make(tmp_path / "in", {name: write for name in names})
    make(folder, {"text.jpg": BAD_IMAGES["text.jpg"]})
    # Another process has put something there; and a file has vanished since it was named.
    (tmp_path / "out" / "taken_mask.png").mkdir(parents=True)
    run = ckd_run(
        tmp_path, "image", "in", "gone.png", "--bundle", tiny_bundle, "--out", "out", "--json"
    )
    assert run.code == 1
    assert [Path(record["image"]).name for record in run.records] == ["well.png"]
    *errors, last = run.errors
    assert last == "error: 4 of 5 images could not be analysed, see above"
    assert sorted(errors)[0] == "error: gone.png: no such file"
    for said in (
        "in/taken.png: its results cannot be written: out/taken_mask.png: Is a directory; a folder",
        f"in/{LONG}: its name is too long to call results after it; shorten it",
        "in/text.jpg: ",
    ):
        assert len([line for line in errors if line.startswith(f"error: {said}")]) == 1, said
    table = {row["image"]: row for row in rows(tmp_path / "out" / "findings.csv")}
    assert table.pop("well")["outcome"] in ("answer", "no_finding")
    assert {name: (row["outcome"], row["reason"]) for name, row in table.items()} == {
        "text.jpg": ("failed", "unreadable"),
        "taken.png": ("failed", "not_written"),
        LONG: ("failed", "not_written"),
        "gone.png": ("failed", "unreadable"),
    }
    assert [row["image"] for row in rows(tmp_path / "out/predictions.csv")] == ["well"]


def test_results_go_where_no_other_process_writes(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    with one_writer(tmp_path / "out"):
        run = ckd_run(tmp_path, "image", "colour.png", "--bundle", tiny_bundle, "--out", "out")
    refused(run, 2, "out: another process works in it: ")
    assert run.err.rstrip().endswith("wait for it, or name another folder with --out")

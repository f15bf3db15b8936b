"""Names of photographs are those of patients: where they stand, and where they never do."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tests.end_to_end.ckd_run import (
    BAD_IMAGES,
    COMMAND,
    GOOD_IMAGES,
    Run,
    ckd_run,
    make,
    photo,
    rows,
)
from tests.end_to_end.test_ckd_run_video import write_video

from ckd.runtime.sources import FrameSource, InputNames, open_source

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")

NAME = "Mueller"


def digits(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def everything(run: Run, folder: Path) -> str:
    """All that a command said and wrote, names of files too."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    content = [path.read_bytes().decode("latin-1") for path in files]
    return "\n".join((run.out, run.err, *map(str, files), *content))


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """A folder of a patient: two photographs with the same bytes, one that cannot be read, and one
    that is left out, which is said before all others are listed."""
    folder = tmp_path / f"{NAME} Anna"
    make(folder, {f"{NAME}_a.png": GOOD_IMAGES["colour.png"], f"{NAME}.jpg": BAD_IMAGES["cut.jpg"]})
    shutil.copy(folder / f"{NAME}_a.png", folder / f"{NAME}_b.png")
    shutil.copy(folder / f"{NAME}_a.png", folder / f".{NAME}.png")
    return folder


def test_without_names_nobody_is_named_and_each_photograph_is_found_again(
    tiny_bundle: Path, tmp_path: Path, patients: Path
) -> None:
    gone = f"./{NAME}_gone.png"
    arguments: list[str | Path] = [
        "image",
        patients,
        gone,
        "--bundle",
        tiny_bundle,
        "--out",
        "out",
        "--no-names",
    ]
    for option in ((), ("--json",)):  # the second run replaces what the first one wrote
        run = ckd_run(tmp_path, *arguments, *option)
        assert run.code == 1
        assert NAME not in everything(run, tmp_path / "out")
    files = sorted(path for path in patients.iterdir() if not path.name.startswith("."))
    labels = [f"input-{n:04d}-{digits(path)}" for n, path in enumerate(files, 1)] + ["input-0004"]
    assert [record["image"] for record in run.records] == labels[1:3]
    assert run.errors[:2] == [
        line for line in run.errors if line.split()[1] in (f"{labels[0]}:", "input-0004:")
    ]
    table = {row["image"]: row["outcome"] for row in rows(tmp_path / "out" / "findings.csv")}
    assert table == dict(zip(labels, ("failed", "answer", "answer", "failed"), strict=True))
    for label in labels[1:3]:
        assert json.loads((tmp_path / "out" / f"{label}.json").read_text())["image"] == label
        assert (tmp_path / "out" / f"{label}_mask.png").is_file()
    command = json.loads((tmp_path / "out" / "run.json").read_text())["command"]
    assert command[:3] == ["image", "the folder of inputs", "input-0004"]


def test_with_names_they_stand_on_stdout_and_in_the_results(
    tiny_bundle: Path, tmp_path: Path, patients: Path
) -> None:
    run = ckd_run(tmp_path, "image", patients, "--bundle", tiny_bundle, "--out", "out")
    assert f"{NAME}_a.png" in run.out
    assert run.errors[0].startswith(f"error: {patients / NAME}.jpg: ")
    assert (tmp_path / "out" / f"{NAME}_b.json").is_file()


@pytest.mark.parametrize("command", ["video", "camera"])
def test_a_recording_has_no_name_in_a_journal_and_without_names_nowhere(
    tiny_bundle: Path, tmp_path: Path, command: str
) -> None:
    clip = write_video(tmp_path / f"{NAME}.avi", 3)
    label = f"input-0001-{digits(clip)}"
    more = ("--view", "none") if command == "camera" else ()
    arguments = [command, f"{NAME}.avi", "--bundle", tiny_bundle, "--out", "out", "--json", *more]
    named = ckd_run(tmp_path, *arguments, "--journal", "journal")
    assert named.records[0]["image"] == f"{NAME}.avi#{named.records[0]['image'].split('#')[1]}"
    (header,) = (tmp_path / "journal").glob("*/journal.json")
    assert json.loads(header.read_text())["source"] == label
    assert NAME not in everything(Run(0, "", ""), tmp_path / "journal")

    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    run = ckd_run(tmp_path, *arguments, "--no-names", "--journal", "other")
    assert run.code == 0
    assert run.records[0]["image"].startswith(f"{label}#")
    assert NAME not in everything(run, tmp_path / "out")
    if command == "video":
        assert (tmp_path / "out" / f"{label}_overlay.mkv").is_file()


@pytest.mark.parametrize("typed", ["./{}", "{}", "sub//../{}"])
def test_a_recording_that_is_refused_is_not_named(
    tiny_bundle: Path, tmp_path: Path, typed: str
) -> None:
    (tmp_path / "sub").mkdir()
    unit = tmp_path / "unit.toml"
    unit.write_text("[camera]\nwidth_px = 1000\nheight_px = 1000\n")
    bundle = ("--bundle", tiny_bundle, "--view", "none", "--no-names")
    source = typed.format(f"{NAME}.avi")
    missing = ckd_run(tmp_path, "camera", source, *bundle)
    write_video(tmp_path / f"{NAME}.avi", 3)
    other_size = ckd_run(tmp_path, "camera", source, "--unit", unit, *bundle)
    for run in (missing, other_size):
        assert run.code != 0
        assert NAME not in run.err
        assert "input-0001" in run.err


def test_no_page_names_a_recording_nor_why_it_failed(tmp_path: Path) -> None:
    clip = write_video(tmp_path / f"{NAME}.avi", 9)
    source: FrameSource
    with open_source(str(clip), live=True) as source:
        assert source.label == f"input-0001-{digits(clip)}"
        assert source.name == clip.name
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 2 // 3])
    with open_source(str(clip), live=True) as source, pytest.raises(Exception, match=NAME):
        for _ in source:
            pass
    assert source.state == "failed"
    assert "input-0001" in source.detail
    assert NAME not in source.detail


def test_a_label_replaces_a_whole_path_and_nothing_that_only_looks_like_it(tmp_path: Path) -> None:
    one = tmp_path / "1.png"
    one.write_bytes(photo().tobytes())
    names = InputNames([one, Path("a")], are_hidden=True)
    label = f"input-0001-{digits(one)}"
    assert (
        names.hidden(f"{one}: a page of {one}x and b/a")
        == f"{label}: input-0002 page of {one}x and b/a"
    )
    assert names.command(["image", str(one), "--out", "b"]) == ["image", label, "--out", "b"]
    assert InputNames([one], are_hidden=False).hidden(f"{one}: odd") == f"{one}: odd"

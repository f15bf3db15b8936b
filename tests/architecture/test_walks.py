"""One image, one frame, one recipe and one quantisation go through the rooms in one direction.

The figures in docs/architecture.md are what this test sees; `python -m tests.architecture.walks`
draws them anew.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if sys.version_info < (3, 11):
    pytest.skip("tomllib and qualified names of code need Python 3.11", allow_module_level=True)
pytest.importorskip("torch")

from tests.architecture.walks import house
from tests.architecture.walks.__main__ import DRAWN, FIGURES, in_own_process
from tests.architecture.walks.rooms import ROOT, room_of, rooms
from tests.architecture.walks.tracer import record

#: Figure and calls that go back up, by the name of the walk.
Walked = Callable[[str], tuple[str, list[str]]]
AGAIN = "draw it anew with `python -m tests.architecture.walks`"


@pytest.fixture(scope="session")
def walked(make_once: Callable[[str, Callable[[Path], object]], Path]) -> Walked:
    """Each command is run once in a test session, whichever process asks for its walk."""

    def walk(name: str, folder: Path) -> None:
        (folder / "work").mkdir()
        record = in_own_process(name, folder / "work")
        (folder / "walk.json").write_text(json.dumps(record))

    def walked(name: str) -> tuple[str, list[str]]:
        folder = make_once(f"walk-{name}", lambda folder: walk(name, folder))
        figure, returns = json.loads((folder / "walk.json").read_text())
        return figure, returns

    return walked


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "image",
        "frame",
        "recipe",
        "quantisation",
    ],
)
def test_no_room_is_entered_again_from_below(name: str, walked: Walked) -> None:
    assert walked(name)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWN)
def test_the_figure_of_a_walk_is_the_walk(name: str, walked: Walked) -> None:
    assert (FIGURES / f"{name}.svg").read_text() == walked(name)[0], AGAIN


@pytest.mark.slow
def test_choosing_a_backend_goes_one_way(walked: Walked) -> None:
    pytest.importorskip("openvino")  # with one backend there is nothing to choose
    assert walked("choice")[1] == []


def test_every_room_is_described() -> None:
    text = (FIGURES.parent / "architecture.md").read_text()
    for name in rooms():
        if name not in ("train", "runtime"):
            assert f"`{name}`" in text or f"`ckd.{name}`" in text, name


def test_the_figure_of_the_house_is_what_import_linter_holds() -> None:
    assert (FIGURES / "house.svg").read_text() == house.svg(), AGAIN


def test_every_source_file_lies_in_a_room() -> None:
    sources = list(ROOT.glob("*/ckd/**/*.py"))
    assert len(sources) > 150
    for path in sources:
        if path.name != "__init__.py":
            assert room_of(str(path)) is not None, path


#: Two files that are not there: code is in the room that its file would be in.
LOW = (
    "runtime/ckd/picture/low.py",
    """
def work(handed): return handed()
def pull(items): return list(items)
""",
)
HIGH = (
    "runtime/ckd/runtime/cascade.py",
    """
class Handed:
    def __init__(self): pass
def asks(): work(lambda: 1)
def makes(): work(Handed)
def tells(): work(lambda: None)
def is_pulled(): pull(n for n in [1])
""",
)


@pytest.mark.parametrize(
    ("name", "goes_up"), [("asks", True), ("makes", True), ("tells", False), ("is_pulled", False)]
)
def test_the_tracer_knows_asking_from_telling_and_pulling(name: str, goes_up: bool) -> None:
    code: dict[str, Any] = {"__name__": "code"}
    for file, source in (LOW, HIGH):
        exec(compile(source, str(ROOT / file), "exec"), code)
    tracer = record(code[name])
    assert tracer.walk is not None
    assert [room for room, _ in tracer.walk.visits] == ["picture"]
    assert bool(tracer.returns) is goes_up

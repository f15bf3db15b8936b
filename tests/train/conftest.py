"""What the tests of training share."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.train.training_runs import TrainingRuns

_HERE = Path(__file__).parent

#: Lightning's hints, true of these runs and meant: tiny epochs, frozen networks, stages without
#: validation, folders that hold an interrupted run.
_MEANT = (
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:The number of training batches .* is smaller than the logging interval",
    r"ignore:Found \d+ module\(s\) in eval mode at the start of training",
    "ignore:Total length of `list` across ranks is zero",
    "ignore:The dirpath has changed from",
    # Lightning calls what PyTorch has deprecated.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"runs", "run"} & {*getattr(item, "fixturenames", ())}:
            for warning in _MEANT:
                item.add_marker(pytest.mark.filterwarnings(warning))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they bring at this size, and sums in one order repeat exactly."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> "TrainingRuns":
    """Trains, and gives the runs that several files look at (`tests/train/training_runs.py`)."""
    module = _module("training_runs")
    shared: TrainingRuns = module.TrainingRuns(module.session_folder(tmp_path_factory))
    return shared


@pytest.fixture
def copied(runs: "TrainingRuns", tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(runs.finished, tmp_path / "copied"))


def _module(name: str) -> ModuleType:
    """By path: tests are no package, and their folder is not on the import path."""
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Cascades that differ in one thing."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deciding import let_decide
from tests.runtime.journal.rig import recorded

from ckd.runtime import Cascade
from ckd.runtime.journal import writing


@pytest.fixture(scope="module", autouse=True)
def one_segment() -> Iterator[None]:
    """What a test records stays in one segment, however slow the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "SEGMENT_S", 600.0)
        yield


@pytest.fixture(scope="module")
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    """On one named backend, so that nothing is measured."""
    with Cascade.load(tiny_bundle, "onnxruntime", num_threads=1) as cascade:
        yield cascade


@pytest.fixture(scope="module")
def run_of_three(cascade: Cascade, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three frames in one segment. Read only."""
    return recorded(tmp_path_factory.mktemp("journal"), cascade).run


@pytest.fixture
def run(run_of_three: Path, tmp_path: Path) -> Path:
    """The same, to be damaged; the only one below `tmp_path`."""
    return Path(shutil.copytree(run_of_three, tmp_path / run_of_three.name))


@pytest.fixture
def deciding(bundle_copy: Path) -> Iterator[Cascade]:
    """The same networks in a bundle that decides."""
    let_decide(bundle_copy)
    with Cascade.load(bundle_copy, "onnxruntime", num_threads=1) as cascade:
        yield cascade

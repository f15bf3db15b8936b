"""What tests of several stages share."""

import contextlib
import functools
import gc
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from ckd.train.systems.graph import System

# Networks of tests are so small that threads only wait for each other, here and in the commands
# that tests start. PyTorch reads this when it is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_HERE = Path(__file__).parent

#: Gives the folder of that name, which the second argument has filled or fills now.
MakeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What `ckd` remembers of this machine is neither used nor changed by tests."""
    os.environ["CKD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def translations_are_read_once() -> Iterator[None]:
    """PyTorch's exporter reads the source of its 500 translations anew for every network, which
    takes longer than the export of a tiny one. The one private name that tests replace, and no
    name of ours; without it the suite takes a minute longer."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError):
            from onnxscript._framework_apis import torch_2_5

            read_once = functools.cache(torch_2_5.get_torchlib_ops)
            patch.setattr(torch_2_5, "get_torchlib_ops", read_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def garbage_is_collected_seldom() -> Iterator[None]:
    """What is imported by now is never searched for garbage again, which takes a second each time
    with PyTorch; and its exporter makes so many small objects that looking for cycles among them at
    Python's default rate takes a tenth of its time."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.fixture(scope="session")
def make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes folders that all processes of a test session share; each is read only once made."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "made_once"
    root.mkdir(exist_ok=True)

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, ready = root / name, root / f"{name}.ready"
        with FileLock(root / f"{name}.lock"):
            if not ready.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                ready.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def tiny_bundle() -> Path:
    """A committed bundle: a whole CKDNet with random weights, at 32 px. Read only."""
    return _HERE / "assets" / "tiny_bundle"


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """The tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def make_tiny_system() -> "Callable[..., System]":
    """Makes the PyTorch system that the tiny bundle was made of, each time anew.

    On request for an image of another size, and with smaller segmentation networks; see there.
    """
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    # So small that threads only wait for each other: ten times slower on a busy machine.
    pytest.importorskip("torch").set_num_threads(1)
    make: Callable[..., System] = _module("tiny_bundle").tiny_system
    return make


@pytest.fixture(scope="session")
def explained_bundle(make_tiny_system: "Callable[[], System]", make_once: MakeOnce) -> Path:
    """What `ckd-export bundle RUN --explain --precision fp32,fp16` makes of the tiny system, but at
    64 px, where the maps have more places than one. Read only."""
    from ckd.export.bundle import write_bundle
    from ckd.train.systems.rewrite import explained

    system = make_tiny_system()
    system.image_size = 64

    def export(folder: Path) -> None:
        write_bundle(
            explained(system),
            folder / "tiny",
            name="tiny",
            provenance={"data": "none"},
            precisions=("fp32", "fp16"),
        )

    return make_once("explained", export) / "tiny"


@pytest.fixture(scope="session")
def toy_graphs() -> ModuleType:
    """`tests/toy_graphs.py`: systems that are computed in no time."""
    pytest.importorskip("torch")
    return _module("toy_graphs")


@pytest.fixture(scope="session")
def quantized_graphs() -> ModuleType:
    """`tests/quantized_graphs.py`: tiny INT8 graphs, whole and broken."""
    pytest.importorskip("onnx")
    return _module("quantized_graphs")


def _module(name: str) -> ModuleType:
    """By path: tests are no package, and their folder is not on the import path."""
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Full memory, a broken kernel, a context that is destroyed: one error, and the process goes on.

With real engines, each in a process of its own, since a library that does not survive it ends the
process. What is raised and released is tested without a GPU in `tests/runtime/cuda`.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("needs_gpu")]

#: What every process begins with: a bundle, a backend, and an image that needs a resize.
SETUP = """
import sys
import numpy as np
from cuda.bindings import driver
from ckd.contract.errors import CkdError, EngineError, EnvironmentUnusable
from ckd.runtime import Cascade
from ckd.runtime.cuda.arrays import DeviceImage
from ckd.runtime.cuda.bindings import open_cuda

bundle, backend = sys.argv[1:]
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

def load():
    return Cascade.load(bundle, backend, "cuda:0")

def first():
    try:
        return load()
    except (EngineError, EnvironmentUnusable) as error:
        if isinstance(error, EngineError) and "may not support" not in str(error):
            raise
        sys.exit(f"skip: {error}")

def go_on_with_the_cpu():
    with Cascade.load(bundle, "onnxruntime", "cpu", num_threads=1) as cascade:
        print("the CPU says", cascade.predict(image).top)
"""

Run = Callable[[str, str], list[str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of all, so that engines are built once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def lines_of(tiny_bundle: Path, cache: Path) -> Run:
    """What code prints that runs after `SETUP`, with a backend."""

    def run(backend: str, code: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", SETUP + code, str(tiny_bundle), backend],
            capture_output=True, text=True, timeout=170,
            env=os.environ | {"CKD_CACHE": str(cache)},
        )  # fmt: skip
        if done.stderr.startswith("skip: "):
            pytest.skip(done.stderr.removeprefix("skip: "))
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_full_memory(lines_of: Run, backend: str) -> None:
    code = """
first().close()  # the engines are built by now
cuda = open_cuda("cuda:0")
held, size = [], cuda.free_bytes()
while size >= 512:  # down to the smallest piece that is handed out
    try:
        held.append(cuda.allocate(size))
    except EngineError:
        size //= 2
try:
    load()
except CkdError as error:
    print(str(error).replace("\\n", "|"))
go_on_with_the_cpu()
for address in held:
    cuda.free(address)
with load() as cascade:
    print("the GPU says", cascade.predict(image).top)
"""
    refused, cpu, gpu = lines_of(backend, code)
    assert "|" not in refused
    assert cpu.removeprefix("the CPU says") == gpu.removeprefix("the GPU says")


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
def test_a_broken_kernel(lines_of: Run, backend: str) -> None:
    code = """
with first() as cascade:
    try:
        cascade.run_device(DeviceImage(16, 480, 640, None))
    except EnvironmentUnusable as error:
        sys.exit(f"skip: {error}")
    except EngineError as error:
        print(error)
go_on_with_the_cpu()
"""
    broken, cpu = lines_of(backend, code)
    assert "CUDA_ERROR_ILLEGAL_ADDRESS; a kernel touched memory" in broken
    assert cpu.startswith("the CPU says")


def test_a_destroyed_context(lines_of: Run) -> None:
    """ONNX Runtime works in the primary context only, which no application destroys."""
    code = """
driver.cuInit(0)
create = (None, 0, 0) if driver.CUDA_VERSION >= 13000 else (0, 0)
error, context = driver.cuCtxCreate(*create)
assert not int(error), error
with first() as cascade:
    cascade.predict(image)
    assert not int(driver.cuCtxDestroy(context)[0])
    try:
        cascade.predict(image)
    except EngineError as error:
        print(error)
go_on_with_the_cpu()
"""
    destroyed, cpu = lines_of("tensorrt", code)
    assert "the application destroyed it" in destroyed
    assert cpu.startswith("the CPU says")

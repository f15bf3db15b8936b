"""A CUDA driver on host memory, for tests of what talks to cuda-bindings itself."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from services import needs_program

import ckd.runtime.cuda

_HERE = Path(__file__).parent
_KERNEL = Path(ckd.runtime.cuda.__path__[0]) / "resize.cu"


@pytest.fixture(scope="session")
def build_with_kernel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles `resize.cu` for the host as a shared library, together with other sources."""
    compiler = needs_program("g++")

    def build(name: str, *sources: str) -> Path:
        library = tmp_path_factory.mktemp("library") / name
        headers = [_HERE / "kernel_on_host.h", _KERNEL][: 1 + len(sources)]
        command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror"]
        command += ["-Wno-unknown-pragmas", f"-Wl,-soname,{name}", "-x", "c++"]
        command += [part for header in headers for part in ("-include", str(header))]
        command += [str(_HERE / source) for source in sources] or [str(_KERNEL)]
        subprocess.run([*command, "-o", str(library)], check=True, timeout=120)
        return library

    return build


@pytest.fixture(scope="session")
def on_fake_driver(build_with_kernel: Callable[..., Path]) -> Callable[..., str]:
    """Runs Python code in a process whose libcuda is `fake_libcuda.cpp`; gives what it prints.

    cuda-bindings are the real ones: what they refuse, they refuse here. The process has `cuda`
    (the module `ckd.runtime.cuda.bindings`), `fake` (the library, by ctypes) and `np`.
    """
    pytest.importorskip("cuda.bindings.driver")
    folder = build_with_kernel("libcuda.so.1", "fake_libcuda.cpp").parent

    def run(code: str, **settings: object) -> str:
        start = """
            import ctypes
            import numpy as np
            from ckd.contract.errors import CkdError, EngineError
            from ckd.runtime.cuda import bindings as cuda
            fake = ctypes.CDLL("libcuda.so.1")
            fake.fake_stream_flags.argtypes = [ctypes.c_void_p]
        """
        paths = [str(folder), os.environ.get("LD_LIBRARY_PATH", "")]
        environment = os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, paths))}
        environment |= {f"FAKE_CUDA_{name}": str(value) for name, value in settings.items()}
        whole = textwrap.dedent(start) + textwrap.dedent(code)
        done = subprocess.run(
            [sys.executable, "-c", whole],
            capture_output=True, text=True, env=environment, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run

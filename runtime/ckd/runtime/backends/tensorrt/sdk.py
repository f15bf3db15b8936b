"""TensorRT under any of its names: TensorRT 10.3 to 11, which JetPack brings, and TensorRT-RTX.

All have the functions that are needed here. Where they differ, the code asks for an attribute,
never for the version.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ckd.contract.errors import EnvironmentUnusable
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.cuda.api import DeviceProperties
from ckd.runtime.engine import first_line

#: Names of TensorRT's package; wheels of TensorRT-RTX have the last one.
TENSORRT_MODULES: Final = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
TENSORRT_REMEDY: Final = (
    "JetPack brings it, others get it from NVIDIA (`pip install tensorrt`), and for GeForce and "
    "RTX cards there is TensorRT-RTX: `pip install '.[tensorrt-rtx]'`"
)

#: What TensorRT says when memory runs out. If it finds no implementation, nearly always none fits
#: into the memory that is left.
_OUT_OF_MEMORY: Final = (
    "out of memory",
    "outofmemory",
    "out-of-memory",
    "insufficient memory",
    "memory is insufficient",
    "could not be allocated",
    "cannot allocate",
    "memoryallocation",
    "mem_alloc_failed",
    "bad_alloc",
    "could not find any implementation for node",
)

#: Number of lines that a log keeps; an engine may log something every time it runs.
_MAX_LINES: Final = 200

_DTYPES: Final[dict[str, DType]] = {"UINT8": "uint8", "FLOAT": "float32", "HALF": "float16"}


def has_tensorrt() -> bool:
    """Whether a TensorRT of any name is installed; its backend finds out whether it works."""
    return any(importlib.util.find_spec(name) for name in TENSORRT_MODULES)


class Log(Protocol):
    """TensorRT's warnings and errors, one line each: "ERROR: ..."."""

    lines: list[str]

    def clear(self) -> None:
        """Remove all lines."""


@dataclass(frozen=True, slots=True)
class TensorRt:
    """An imported TensorRT.

    Attributes:
        trt: its module.
        name: of the module, with its version.
    """

    trt: Any
    name: str

    @property
    def builds_ahead(self) -> bool:
        """Whether it builds for GPUs that this machine does not have, as TensorRT-RTX does."""
        return hasattr(self.trt, "ComputeCapability")

    def is_made_for(self, gpu: DeviceProperties) -> bool:
        """False if it lists the GPUs it is made for without this one: TensorRT-RTX on an H100.

        It may run there all the same, so users can ask for it by name.
        """
        capability = "SM" + "".join(map(str, gpu.compute_capability))
        return not self.builds_ahead or hasattr(self.trt.ComputeCapability, capability)

    def log(self) -> Any:
        """A logger for TensorRT that is also a `Log`; it must outlive the objects that use it."""
        trt = self.trt
        base: Any = trt.ILogger

        class Logger(base):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.lines: list[str] = []

            def log(self, severity: Any, message: str) -> None:
                """Called by TensorRT."""
                if int(severity) <= int(trt.ILogger.WARNING):
                    self.lines.append(f"{severity.name}: {' '.join(message.split())}")
                    del self.lines[:-_MAX_LINES]

            def clear(self) -> None:
                self.lines.clear()

        return Logger()

    def spec(self, name: str, shape: Any, dtype: Any) -> TensorSpec | str:
        """A tensor of a network or engine; a description if its shape or type is not supported."""
        sizes = tuple(shape)
        if dtype.name not in _DTYPES or not all(size > 0 for size in sizes):
            return f"{name}: {dtype.name}{list(sizes)}"
        return TensorSpec(name, sizes, _DTYPES[dtype.name])


def import_tensorrt() -> TensorRt:
    """The first TensorRT that can be imported and builds strongly typed networks.

    Raises:
        EnvironmentUnusable: there is none; says what is wrong with those installed, and the remedy.
    """
    wrong = []
    for name in TENSORRT_MODULES:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            trt = importlib.import_module(name)
        except Exception as error:  # a missing library raises ImportError; others raise anything
            wrong.append(f"{name} cannot be imported ({first_line(error)})")
            continue
        tensorrt = TensorRt(trt, f"{name} {getattr(trt, '__version__', 'of unknown version')}")
        if strongly_typed_flag(trt) is None:
            wrong.append(f"{tensorrt.name} has no strongly typed networks; 10.3 or later is needed")
            continue
        return tensorrt
    why = "; ".join(wrong) or "TensorRT is not installed"
    raise EnvironmentUnusable(f"{why}; {TENSORRT_REMEDY}")


def strongly_typed_flag(trt: Any) -> int | None:
    """The flags of a network that computes in the precision of its file; None if it cannot.

    Later versions may drop the flag, because all their networks do so. Earlier versions, whose
    networks do not, have a flag of the builder for half precision.
    """
    flags: Any = getattr(trt, "NetworkDefinitionCreationFlag", None)
    if hasattr(flags, "STRONGLY_TYPED"):
        return 1 << int(flags.STRONGLY_TYPED)
    return None if hasattr(getattr(trt, "BuilderFlag", None), "FP16") else 0


def memory_ran_out(said: str) -> bool:
    """Whether a message of TensorRT says that memory ran out."""
    return any(sign in said.lower() for sign in _OUT_OF_MEMORY)


def worst_line(lines: list[str]) -> str:
    """The one line to show: that memory ran out, or else the first error, without its place in C++.

    TensorRT reports the cause first and then the functions that it made fail.
    """
    errors = [line for line in lines if not line.startswith("WARNING")] or lines
    for chosen in [*filter(memory_ran_out, errors), *errors]:
        return chosen.partition(": ")[2]
    return "it does not say why"

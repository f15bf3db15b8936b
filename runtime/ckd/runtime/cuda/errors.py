"""CUDA's error codes as sentences: what failed, CUDA's name of the error, and the remedy."""

from collections.abc import Mapping
from typing import Any, Final

from ckd.contract.errors import EngineError

OUT_OF_MEMORY: Final = 2

#: Codes that say that the context no longer exists.
DESTROYED: Final = frozenset({201, 709})

#: Codes after which nothing in the context can be used or needs to be freed: it is destroyed, or
#: unusable because a kernel failed.
CONTEXT_LOST: Final = DESTROYED | {4, 214, 226, 700, 702, 710, *range(714, 722)}

_RESTART: Final = (
    "nothing in this context can be used any more; restart the process, and if it happens again "
    "run with `--device cpu`"
)

# The driver, the runtime and their bindings share these numbers.
_REMEDIES: Final[Mapping[int, str]] = {
    OUT_OF_MEMORY: (
        "the GPU's memory is full; end other programs that use it (`nvidia-smi` lists them), take "
        "a smaller precision or run with `--device cpu`"
    ),
    3: (
        "CUDA cannot be used after a fork; start processes by spawn "
        "(`multiprocessing.set_start_method('spawn')`)"
    ),
    4: "the process is ending; close what uses the GPU earlier",
    34: "a stub libcuda was found in place of the driver's; take it out of LD_LIBRARY_PATH",
    46: (
        "another process holds the device for itself, or it is being reset; wait, or end that "
        "process (`nvidia-smi` lists them)"
    ),
    100: (
        "the driver finds no CUDA device; look at `nvidia-smi` and CUDA_VISIBLE_DEVICES, and start "
        "a container with `--gpus all`"
    ),
    101: "no such device; `nvidia-smi -L` lists them",
    201: (
        "the context is not current here, or the application destroyed it; load the cascade again "
        "in the context that is to be used"
    ),
    209: "built for another GPU; build for this one (`ckd-export engine`)",
    214: f"the GPU's memory is faulty; {_RESTART}",
    222: "the driver is older than CUDA's compiler (NVRTC); update the driver",
    304: "the system refused; free some memory or raise the limit on locked memory (`ulimit -l`)",
    400: "a stream, event or graph was used after it was destroyed, or in another context",
    700: f"a kernel touched memory that is not its own; {_RESTART}",
    702: f"a kernel took longer than the display's watchdog allows; {_RESTART}",
    709: (
        "the application destroyed the CUDA context; load the cascade again in the context that "
        "is to be used"
    ),
    719: f"a kernel crashed; {_RESTART}",
    802: "the GPU fabric is not up yet; start `nvidia-fabricmanager`, or wait for it",
    803: "the driver's kernel module and libcuda differ in version; reboot after a driver update",
    804: "the cuda-compat package does not work on this GPU; remove it or update the driver",
    900: "the stream is being captured and cannot do this",
    901: "something that cannot be captured ran during the capture",
}


def describe(error: Any, doing: str) -> str:
    """A sentence about an error code of the driver, or of NVRTC.

    Args:
        error: `CUresult` or `nvrtcResult`.
        doing: what failed, as "cannot allocate 3 MiB on cuda:0".
    """
    name = getattr(error, "name", str(error))
    # NVRTC counts its errors from 1 as well.
    remedy = None if name.startswith("NVRTC") else _REMEDIES.get(int(error))
    return f"{doing}: {name}" + (f"; {remedy}" if remedy else "")


def checked(result: tuple[Any, ...], doing: str) -> Any:
    """The result of a call of cuda-bindings after its error code: None, one value or a tuple.

    Raises:
        EngineError: the call failed.
    """
    error, *values = result
    if int(error):
        raise EngineError(describe(error, doing))
    return tuple(values) if len(values) > 1 else (values[0] if values else None)

"""Whether this process can use CUDA: asked without making a context, answered with the remedy."""

import importlib
from typing import Any

from ckd.contract.errors import CkdError, EnvironmentUnusable


def why_no_gpu() -> str | None:
    """Why this process cannot use a GPU, with the remedy; None if it can."""
    try:
        num_devices(load_driver())
    except CkdError as error:
        return str(error)
    return None


def load_driver() -> Any:
    """The module `cuda.bindings.driver`.

    Raises:
        EnvironmentUnusable: it is not installed, or it does not load.
    """
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError as error:
        raise EnvironmentUnusable(
            f"cuda-bindings is not installed or does not load ({error}); in the folder of this "
            "project: `pip install '.[cuda]'`"
        ) from error


def num_devices(driver: Any) -> int:
    """The number of CUDA devices, at least one.

    Raises:
        EnvironmentUnusable: there is no device, or the driver is missing or too old.
    """
    from ckd.runtime.cuda.errors import checked, describe  # not needed where nobody asks for a GPU

    try:
        (failed,) = driver.cuInit(0)
    except RuntimeError as error:  # cuda-bindings cannot load libcuda
        raise EnvironmentUnusable(
            "no NVIDIA driver here (libcuda does not load); install it, or start the container "
            "with `--gpus all` (`--runtime nvidia` on a Jetson)"
        ) from error
    except Exception as error:  # an error code that these bindings do not know yet
        raise EnvironmentUnusable(f"CUDA does not start: {error}; see `nvidia-smi`") from error
    if int(failed):
        raise EnvironmentUnusable(describe(failed, "CUDA does not start"))
    version = int(checked(driver.cuDriverGetVersion(), "cannot ask the CUDA driver"))
    major = version // 1000
    if major < driver.CUDA_VERSION // 1000:
        raise EnvironmentUnusable(
            f"the NVIDIA driver is too old: it offers CUDA {_dotted(version)}, the cuda-bindings "
            f"installed here are for {_dotted(driver.CUDA_VERSION)}; update the driver, or install "
            f"packages for CUDA {major} (`pip install 'cuda-bindings=={major}.*'`)"
        )
    failed, count = driver.cuDeviceGetCount()
    if int(failed):
        raise EnvironmentUnusable(describe(failed, "CUDA finds no device"))
    if not count:
        raise EnvironmentUnusable(
            "the driver finds no CUDA device; look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
        )
    return int(count)


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"

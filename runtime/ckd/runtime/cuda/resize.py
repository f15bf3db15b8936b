"""Resizes photographs to network size on the device, as `ckd.picture.resize` does on the host.

The kernel is `resize.cu` beside this; NVRTC compiles it for the device when a `Resizer` is made.
"""

import ctypes
import functools
import importlib
from importlib import resources
from typing import Any

from ckd.contract.errors import EngineError, EnvironmentUnusable, InputError
from ckd.picture.decode import MAX_PIXELS, MIN_SIDE_PX
from ckd.picture.resize import num_halvings
from ckd.runtime.cuda.bindings import CudaBindings
from ckd.runtime.cuda.errors import checked

KERNEL = "resize_area"
_BLOCK = 32, 4  # threads: one warp for each of four rows of the output


class Resizer:
    """Resizes uint8 RGB HWC of any size to ``side_px`` square, by area averaging.

    It halves large images first, as `ckd.picture.resize.network_image` does, and differs from that
    by 1 of 255 at most: OpenCV rounds ties to even and sums weights of limited precision; this
    rounds ties up and is exact.

    Args:
        cuda: the device, in whose context the kernel is loaded.
        side_px: of the square, 32 to 1024.

    Raises:
        ValueError: ``side_px`` is below 32 or above 1024.
        EnvironmentUnusable: NVRTC is not installed.
        EngineError: the kernel does not compile or load.
    """

    def __init__(self, cuda: CudaBindings, side_px: int) -> None:
        if not 32 <= side_px <= 1024:  # the range of the kernel's integers and halvings
            raise ValueError(f"side_px: expected 32 to 1024, got {side_px}")
        self._cuda, self._side_px = cuda, side_px
        code = compiled(cuda.properties().compute_capability)
        image = ctypes.create_string_buffer(code, len(code))
        cuda.enter()
        module = checked(cuda.driver.cuModuleLoadData(ctypes.addressof(image)), _LOADING)
        self._module = int(module)
        try:
            function = cuda.driver.cuModuleGetFunction(module, KERNEL.encode())
            self._function = checked(function, _LOADING)
        except EngineError:
            self.close()
            raise

    def __call__(
        self, source_address: int, height: int, width: int, to_address: int, stream: int
    ) -> None:
        """Put a resize of ``[height, width, 3]`` into ``[side_px, side_px, 3]`` into a stream.

        Both are contiguous device memory, which must not be released before the stream has done it.

        Raises:
            InputError: the image is too small or too large, as in `ckd.picture.decode`.
            EngineError: the kernel cannot be launched, or was closed.
        """
        if not self._module:
            raise EngineError("the resizer is closed; load the cascade again")
        if min(height, width) < MIN_SIDE_PX or height * width > MAX_PIXELS:
            raise InputError(
                f"image: {width}x{height} pixels; expected at least {MIN_SIDE_PX}x{MIN_SIDE_PX} "
                f"and at most {MAX_PIXELS // 1_000_000} megapixels"
            )
        halvings = num_halvings(height, width, self._side_px)
        values = source_address, height, width, halvings, to_address, self._side_px
        grid = [-(-self._side_px // size) for size in _BLOCK]
        self._cuda.enter()
        launched = self._cuda.driver.cuLaunchKernel(
            self._function, *grid, 1, *_BLOCK, 1, 0, stream, (values, _PARAMETERS), 0
        )
        checked(launched, f"cannot resize an image of {width}x{height} pixels")

    def close(self) -> None:
        """Unload the kernel; calling it twice is allowed."""
        self._cuda.unload(self._module)
        self._module = 0


_LOADING = "cannot load the kernel that resizes images"
_UINT, _ADDRESS = ctypes.c_uint, ctypes.c_void_p
_PARAMETERS = _ADDRESS, _UINT, _UINT, _UINT, _ADDRESS, _UINT  # of `resize_area`


def source() -> str:
    """The kernel in CUDA C++."""
    return resources.files("ckd.runtime.cuda").joinpath("resize.cu").read_text("utf-8")


@functools.cache
def compiled(capability: tuple[int, int]) -> bytes:
    """The kernel for a compute capability: machine code, or PTX if NVRTC is older than the GPU.

    Machine code is preferred, because a driver that is older than NVRTC cannot load NVRTC's PTX.

    Raises:
        EnvironmentUnusable: NVRTC is not installed.
        EngineError: NVRTC cannot compile for a GPU as old as this, or the kernel does not compile.
    """
    try:
        nvrtc: Any = importlib.import_module("cuda.bindings.nvrtc")
        archs = checked(nvrtc.nvrtcGetSupportedArchs(), "cannot ask NVRTC")
    except (ImportError, RuntimeError) as error:
        raise EnvironmentUnusable(
            "NVRTC, CUDA's compiler at run time, is not installed; install the CUDA toolkit or "
            "`pip install 'cuda-bindings[all]'`, or give images of network size from host memory"
        ) from error
    arch = capability[0] * 10 + capability[1]
    older = [known for known in archs if known <= arch]
    if not older:
        raise EngineError(
            f"NVRTC compiles for no GPU as old as compute capability {capability[0]}."
            f"{capability[1]}; install the NVRTC of an earlier CUDA"
        )
    exact = arch in archs
    target = f"sm_{arch}" if exact else f"compute_{max(older)}"
    program = checked(
        nvrtc.nvrtcCreateProgram(source().encode(), b"resize.cu", 0, [], []), _COMPILING
    )
    try:
        options = [f"--gpu-architecture={target}".encode(), b"--std=c++17"]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(result):
            raise EngineError(f"{_COMPILING} for {target}: {_log(nvrtc, program)}")
        if exact:
            code = bytes(checked(nvrtc.nvrtcGetCUBINSize(program), _COMPILING))
            checked(nvrtc.nvrtcGetCUBIN(program, code), _COMPILING)
        else:
            code = bytes(checked(nvrtc.nvrtcGetPTXSize(program), _COMPILING))
            checked(nvrtc.nvrtcGetPTX(program, code), _COMPILING)
        return code
    finally:
        nvrtc.nvrtcDestroyProgram(program)


_COMPILING = "cannot compile the kernel that resizes images"


def _log(nvrtc: Any, program: Any) -> str:
    log = bytes(checked(nvrtc.nvrtcGetProgramLogSize(program), _COMPILING))
    checked(nvrtc.nvrtcGetProgramLog(program, log), _COMPILING)
    return log.rstrip(b"\0").decode(errors="replace")

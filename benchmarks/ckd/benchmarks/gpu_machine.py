"""What a machine has for a measurement on its GPU; run as a program by `benchmarks/gpu.sh`.

    python -m ckd.benchmarks.gpu_machine [--device cpu]

Prints interpreter, packages and devices to stderr; ends with exit code 3 if there is no GPU.
"""

import importlib.metadata
import importlib.util
import platform
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from ckd.contract.errors import CkdError

#: Module -> what needs it.
_NEEDED_FOR: Final = {
    "torch": "everything",
    "triton": "torch.compile",
    "onnxscript": "exports: ONNX Runtime, TensorRT and ckd",
    "onnxruntime": "ONNX Runtime, and ckd on it",
    "tensorrt": "TensorRT, and ckd on it",
    "cuda.bindings": "ckd on a GPU",
    "matplotlib": "the picture",
    "pytest": "the tests",
}


def inventory() -> Iterator[str]:
    """One line for the interpreter and one for each package."""
    yield f"Python {platform.python_version()} {sys.executable}"
    installed = importlib.metadata.packages_distributions()
    for module, purpose in _NEEDED_FOR.items():
        if not _is_importable(module):
            yield f"{module}: missing, needed for {purpose}"
            continue
        names = sorted(set(installed.get(module.partition(".")[0], ())))
        versions = (f"{name} {importlib.metadata.version(name)}" for name in names)
        yield f"{module}: {', '.join(versions) or 'not installed by a package'}"


def device_of(arguments: Sequence[str]) -> str:
    """The device that `ckd-bench gpu` would take with these arguments."""
    for option, value in pairwise([*arguments, ""]):
        if option == "--device":
            return value
        if option.startswith("--device="):
            return option.partition("=")[2]
    return "cuda"


def main(arguments: Sequence[str]) -> int:
    """The exit code."""
    for line in inventory():
        print(line, file=sys.stderr)
    if not _is_importable("torch"):
        print("error: torch is not installed in this interpreter; set PYTHON to one that has it, "
              "or PYTHONPATH to where it lies", file=sys.stderr)  # fmt: skip
        return 3
    from ckd.benchmarks.gpu_device import check_device, describe

    device = device_of(arguments)
    try:
        check_device(device)
    except CkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{device}: {describe(device)}", file=sys.stderr)
    return 0


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the package around it is missing
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

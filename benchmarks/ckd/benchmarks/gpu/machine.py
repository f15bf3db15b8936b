"""Check that a machine can measure its GPU; run as a program by `benchmarks/gpu.sh`.

    python -m ckd.benchmarks.gpu.machine [--device cpu]

Prints interpreter, packages and devices to stderr. Ends with exit code 3 if there is no GPU, or a
package without which nothing can be measured; it names all of them at once.
"""

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from ckd.contract.errors import CkdError

#: Module -> the name it is installed by. Tests and race import these at their start, or fail
#: halfway without them.
NEEDED: Final = {
    "numpy": "numpy",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "filelock": "filelock",
    "rich": "rich",
    "typer": "typer",
    "typing_extensions": "typing-extensions",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic-core",
    "safetensors": "safetensors",
    "torch": "torch",
    "torchvision": "torchvision",
    "onnx": "onnx",
    "onnx_ir": "onnx-ir",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime-gpu",
    "pytest": "pytest",
}
#: The same, for running a cascade on a GPU.
_NEEDED_ON_GPU: Final = {"cuda.bindings.driver": "cuda-bindings", "triton": "triton"}
#: Module -> what the measurement leaves out without it.
_OPTIONAL: Final = {
    "tensorrt": "TensorRT, and ckd on it",
    "matplotlib": "the picture",
}


def inventory(device: str, broken: Mapping[str, str]) -> Iterator[str]:
    """One line for the interpreter and one for each package.

    Args:
        device: to race on.
        broken: modules that cannot be imported, and why.
    """
    yield f"Python {platform.python_version()} {sys.executable}"
    installed = importlib.metadata.packages_distributions()
    for module in (*needed(device), *_OPTIONAL):
        if module in broken:
            without = _OPTIONAL.get(module)
            yield f"{module}: {broken[module]}" + (f"; leaves out {without}" if without else "")
            continue
        names = sorted(set(installed.get(module.partition(".")[0], ())))
        versions = (f"{name} {importlib.metadata.version(name)}" for name in names)
        yield f"{module}: {', '.join(versions) or 'not installed by a package'}"


def needed(device: str) -> dict[str, str]:
    """Modules that a device needs -> the names they are installed by."""
    return NEEDED if device == "cpu" else NEEDED | _NEEDED_ON_GPU


def find_broken(modules: Iterable[str]) -> dict[str, str]:
    """Modules that cannot be imported, and why.

    They are imported, not just looked for: a module may exist while its shared libraries are
    missing.
    """
    broken = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            broken[module] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return broken


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
    device = device_of(arguments)
    broken = find_broken((*needed(device), *_OPTIONAL))
    for line in inventory(device, broken):
        print(line, file=sys.stderr)
    if lacking := {module: name for module, name in needed(device).items() if module in broken}:
        print(f"error: {', '.join(lacking)} cannot be imported in this interpreter; set PYTHON to "
              "one that has them, or PYTHONPATH to where they lie, or "
              f"`pip install {' '.join(lacking.values())}`", file=sys.stderr)  # fmt: skip
        return 3
    from ckd.benchmarks.gpu.device import check_device, describe

    try:
        check_device(device)
    except CkdError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{device}: {describe(device)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""TensorRT engines of a machine: taken from the cache, or built.

An engine works only with the network, the TensorRT, the driver and the GPU that it was built for;
all of them are in its key.
"""

import logging
import mmap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ckd.contract.errors import EngineError
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import TensorSpec
from ckd.runtime.backends.tensorrt.build import OPTIONS
from ckd.runtime.backends.tensorrt.process import build_engine
from ckd.runtime.backends.tensorrt.sdk import TensorRt
from ckd.runtime.cuda.api import Cuda
from ckd.runtime.engine_cache import EngineCache, EngineFile, EngineKey

KERNEL_DRIVER: Final = Path("/sys/module/nvidia/version")
L4T_RELEASE: Final = Path("/etc/nv_tegra_release")

#: What an engine and its certificate depend on besides the network.
Machine = Mapping[str, str | int]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """An engine in the cache.

    Attributes:
        content: of the file; None once TensorRT has loaded it.
        path: of the file, which does not exist if the cache cannot be written.
        seconds: that it took to build; None if it was in the cache.
    """

    network: str
    precision: str
    content: mmap.mmap | bytes | memoryview | None
    num_bytes: int
    sha256: str
    path: Path
    seconds: float | None


class KeptEngines:
    """Engines that one TensorRT builds for one GPU, or ahead of time for several (TensorRT-RTX).

    Args:
        tensorrt: to build with.
        cuda: the GPU; None builds ahead of time, which only TensorRT-RTX can.

    Attributes:
        machine: what the engines depend on besides the network.
    """

    def __init__(self, tensorrt: TensorRt, cuda: Cuda | None) -> None:
        self._tensorrt, self._cuda = tensorrt, cuda
        self._cache = EngineCache()
        self._has_warned = False  # that engines cannot be kept
        self.machine = _ahead(tensorrt) if cuda is None else _machine(tensorrt, cuda)

    def fetch(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> Kept:
        """The engine of a network, which is built if the cache has none.

        Raises:
            EngineError: it cannot be built.
            BundleError: the network's file is missing or was changed.
        """
        key = self.key(node, onnx, specs, precision)
        seconds: float | None = None
        with self._cache.slot(key) as slot:
            if slot.engine is not None:
                file = slot.engine
            elif (ahead := self._built_ahead(node, onnx, specs, precision)) is not None:
                file = slot.keep(bytes(ahead.content))
            else:
                _log.info("building the engine of %s (%s)", node.name, precision)
                start = time.perf_counter()
                built = self._build(node, onnx, precision)
                seconds = time.perf_counter() - start
                file = slot.keep(built)
        path = self._cache.path(key)
        if seconds is not None and not path.is_file() and not self._has_warned:
            self._has_warned = True
            _log.warning(
                "engines cannot be kept in %s and are built at every start; "
                "set CKD_CACHE to a folder that can be written and has room",
                path.parent,
            )
        content, sha256 = file.content, file.sha256
        return Kept(node.name, precision, content, len(content), sha256, path, seconds)

    def drop(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> None:
        """Remove an engine that cannot be loaded, and the one built ahead that it was made from."""
        for machine in (self.machine, _ahead(self._tensorrt)):
            self._cache.drop(_key(node, onnx, specs, precision, machine))

    def key(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> EngineKey:
        """Everything that the engine of a network depends on."""
        return _key(node, onnx, specs, precision, self.machine)

    def _build(self, node: NodeSpec, onnx: Content, precision: str) -> bytes:
        free_bytes = 0 if self._cuda is None else self._cuda.free_bytes()
        index = 0 if self._cuda is None else self._cuda.index
        content = onnx.read()
        try:
            return build_engine(node.name, precision, content, free_bytes, index)
        except OSError as error:  # so that who takes any backend takes another one
            raise EngineError(
                f"cannot build {node.name} ({precision}): {error}; free some space, or set TMPDIR "
                "to a folder on another disk"
            ) from error

    def _built_ahead(
        self, node: NodeSpec, onnx: Content, specs: Mapping[str, TensorSpec], precision: str
    ) -> EngineFile | None:
        """The engine that was built ahead of time, if any; it is finished when it is loaded."""
        if self._cuda is None or not self._tensorrt.builds_ahead:
            return None
        return self._cache.find(_key(node, onnx, specs, precision, _ahead(self._tensorrt)))


def _key(
    node: NodeSpec,
    onnx: Content,
    specs: Mapping[str, TensorSpec],
    precision: str,
    machine: Machine,
) -> EngineKey:
    return {
        "network": node.name,
        "precision": precision,
        "onnx": onnx.sha256,
        "tensors": ", ".join(str(specs[name]) for name in (*node.inputs, *node.outputs)),
        "options": OPTIONS,
        **machine,
    }


def _machine(tensorrt: TensorRt, cuda: Cuda) -> Machine:
    gpu = cuda.properties()
    return {
        "tensorrt": tensorrt.name,
        "gpu": gpu.name,
        "compute_capability": ".".join(map(str, gpu.compute_capability)),
        "multiprocessors": gpu.num_multiprocessors,
        "driver": gpu.driver_version,  # the CUDA that it offers
        "cuda_runtime": gpu.runtime_version,
        **_kernel_driver(),
        **_l4t(),
    }


def _ahead(tensorrt: TensorRt) -> Machine:
    return {"tensorrt": tensorrt.name, "gpu": "ahead of time: default compute capabilities"}


def _kernel_driver() -> dict[str, str]:
    """The driver's own version: many versions offer the same CUDA."""
    try:
        return {"kernel_driver": KERNEL_DRIVER.read_text().strip()}
    except OSError:
        return {}


def _l4t() -> dict[str, str]:
    """The release of a Jetson's system, whose driver has no version of its own."""
    try:
        return {"l4t": L4T_RELEASE.read_text(errors="replace").split("\n")[0].strip("# ")}
    except OSError:
        return {}

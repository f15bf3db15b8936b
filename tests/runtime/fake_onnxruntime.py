"""A stand-in for the GPU build of ONNX Runtime: it computes on the CPU, on addresses it was given.

Either the addresses are the host's own, and a run is over when it returns; or they are those of a
`RecordingCuda`, and a run is work in the stream that the session was made with.
"""

import ctypes
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tests.runtime.cuda.fake import RecordingCuda

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Binding:
    """What was bound: device, its number, type, shape and address, by tensor name."""

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, tuple[Any, ...]] = {}

    def bind_input(self, name: str, *where: Any) -> None:
        self.inputs[name] = where

    def bind_output(self, name: str, *where: Any) -> None:
        self.outputs[name] = where


class GpuBuild:
    """`onnxruntime` as its GPU build looks.

    Args:
        took: the provider that its sessions end with.
        cuda: whose addresses are bound; None takes them for the host's own.
    """

    __version__ = "1.31.1"

    def __init__(self, took: str = CUDA, cuda: RecordingCuda | None = None) -> None:
        self.took, self.cuda = took, cuda
        self.sessions: list[GpuSession] = []
        self.preloaded: list[str | None] = []
        self.fails_with: Exception | None = None
        self.leaves_some = False

    def get_available_providers(self) -> list[str]:
        return [CUDA, CPU]

    def preload_dlls(self, directory: str | None = None) -> None:
        self.preloaded.append(directory)
        print("Failed to load libcufft.so.12")

    def __getattr__(self, name: str) -> Any:
        return getattr(onnxruntime, name)

    def InferenceSession(
        self, content: bytes, options: Any, *, providers: list[Any], enable_fallback: int
    ) -> "GpuSession":
        if self.fails_with is not None:
            raise self.fails_with
        assert enable_fallback == 0
        self.sessions.append(GpuSession(self, content, options, dict(providers)))
        return self.sessions[-1]


class GpuSession:
    """A session that says it runs on CUDA, and records how it was run."""

    def __init__(
        self, build: GpuBuild, content: bytes, options: Any, providers: Mapping[str, Any]
    ) -> None:
        self.build, self.settings = build, providers[CUDA]
        self.real = onnxruntime.InferenceSession(content, providers=[CPU])
        self.stray: list[str] = []
        self.runs: list[str] = []
        self.recorded = options.get_session_config_entry("session.record_ep_graph_assignment_info")

    def get_providers(self) -> list[str]:
        return [self.build.took] if self.build.took == CPU else [CUDA, CPU]

    def get_inputs(self) -> Any:
        return self.real.get_inputs()

    def get_outputs(self) -> Any:
        return self.real.get_outputs()

    def get_provider_graph_assignment_info(self) -> Iterator[Any]:
        for provider, kinds in ((CUDA, ["Conv"]), (CPU, ["Resize", "Resize", "Loop"])):
            if provider == CUDA or self.build.leaves_some:
                nodes = [SimpleNamespace(op_type=kind) for kind in kinds]
                yield SimpleNamespace(ep_name=provider, get_nodes=lambda nodes=nodes: nodes)

    def io_binding(self) -> Binding:
        self.binding = Binding()
        return self.binding

    def run_with_iobinding(self, binding: Binding, options: Any) -> None:
        entry = options.get_run_config_entry("disable_synchronize_execution_providers")
        self.runs.append(entry)
        if self.build.cuda is None:
            self._compute(binding)
        else:
            stream = int(self.settings["user_compute_stream"])
            self.build.cuda.put(stream, lambda: self._compute(binding))

    def _compute(self, binding: Binding) -> None:
        feeds = {name: self._memory(*where) for name, where in binding.inputs.items()}
        values = self.real.run([*binding.outputs], feeds)
        for where, value in zip(binding.outputs.values(), values, strict=True):
            self._memory(*where)[...] = value

    def _memory(
        self, device: str, index: int, element: type, shape: list[int], address: int
    ) -> NDArray[Any]:
        """What lies at an address."""
        num_bytes = int(np.prod(shape)) * np.dtype(element).itemsize
        if self.build.cuda is not None:
            data = self.build.cuda.bytes_at(address, num_bytes)
        else:
            data = np.ctypeslib.as_array((ctypes.c_ubyte * num_bytes).from_address(address))
        return data.view(element).reshape(shape)

"""Sessions of ONNX Runtime that read and write fixed memory (IOBinding), on whichever device."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import onnxruntime as ort
from typing_extensions import override

from ckd.contract.errors import EngineError
from ckd.contract.spec import NodeSpec
from ckd.contract.tensors import DType, TensorSpec
from ckd.runtime.engine import Engine, check_promise, first_line

_DTYPES: Final[Mapping[str, DType]] = {
    "tensor(uint8)": "uint8",
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
}


def session_options() -> ort.SessionOptions:
    """Options that every session has: it logs errors only and allocates weights exactly."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # `ckd.contract.onnx_wire` looked through it as ONNX, and as nothing else.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # On a CPU, kernels copy weights into a layout of their own; in the arena, the first copy would
    # be kept too, which doubles the memory. On a GPU, an arena would round up their size.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    return options


class SessionEngine(Engine):
    """A session and its binding; subclasses bind it to the buffers of their device.

    Args:
        node: the node that the session runs.
        session: of the node's file.
        specs: what cascade.json promises of each tensor, by name.
        reason: what an error of ONNX Runtime means.

    Raises:
        EngineError: an input or output has no fixed shape, or an unknown type.
        BundleError: the file is not what cascade.json promises.
    """

    def __init__(
        self,
        node: NodeSpec,
        session: ort.InferenceSession,
        specs: Mapping[str, TensorSpec],
        reason: Callable[[Exception], str] = first_line,
    ) -> None:
        self.name = node.name
        self.inputs = tuple(_tensor_spec(value) for value in session.get_inputs())
        self.outputs = tuple(_tensor_spec(value) for value in session.get_outputs())
        check_promise(node, self.inputs, self.outputs, specs)
        self._session: ort.InferenceSession | None = session
        self._binding = session.io_binding()
        self._run_options = ort.RunOptions()
        self._reason = reason

    @override
    def enqueue(self, stream: int = 0) -> None:
        if self._session is None:
            raise EngineError(f"{self.name} is closed")
        try:
            self._session.run_with_iobinding(self._binding, self._run_options)
        except Exception as error:
            raise EngineError(f"{self.name} failed: {self._reason(error)}") from error

    @override
    def close(self) -> None:
        self._session = None
        self._binding = None


def _tensor_spec(value: Any) -> TensorSpec:
    """What a session says of an input or output; `EngineError` if its shape is not fixed."""
    if value.type not in _DTYPES or not all(isinstance(size, int) for size in value.shape):
        raise EngineError(
            f"{value.name}: {value.type}{value.shape} is no static tensor of a known type"
        )
    return TensorSpec(value.name, tuple(value.shape), _DTYPES[value.type])

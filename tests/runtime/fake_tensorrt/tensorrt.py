"""A module named `tensorrt` for tests: it needs no GPU, and fails in whatever way it is told.

Its networks are JSON instead of ONNX: ``inputs`` and ``outputs``, each a list of name, shape and
type, and under ``do`` what goes wrong. A plan is the same JSON with this version's name. What an
execution context is asked to do is in `calls`.
"""

import json
import os
import signal
from enum import IntEnum
from pathlib import Path
from typing import Any

__version__ = "10.9.0"

calls: list[tuple[Any, ...]] = []


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class DataType(IntEnum):
    FLOAT = 0
    HALF = 1
    INT64 = 2
    UINT8 = 3


class TensorIOMode(IntEnum):
    INPUT = 1
    OUTPUT = 2


class NetworkDefinitionCreationFlag(IntEnum):
    STRONGLY_TYPED = 1


class BuilderFlag(IntEnum):
    TF32 = 0
    FP16 = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class ILogger:
    WARNING = Severity.WARNING

    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    pass


class Tensor:
    def __init__(self, name: str, shape: list[int], dtype: str) -> None:
        self.name, self.shape, self.dtype = name, shape, DataType[dtype]


class Network:
    def __init__(self) -> None:
        self.content: dict[str, Any] = {}

    @property
    def num_inputs(self) -> int:
        return len(self.content["inputs"])

    def get_input(self, index: int) -> Tensor:
        return Tensor(*self.content["inputs"][index])


class ParserError:
    def desc(self) -> str:
        return (
            "Invalid Node - Conv_3\nAssertion failed: isFine(x): This is not supported.\nStack: ..."
        )

    def node_name(self) -> str:
        return "Conv_3"


class OnnxParser:
    num_errors = 1

    def __init__(self, network: Network, log: ILogger) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        self.network.content = json.loads(Path(path).read_text())
        return self.network.content.get("do") != "unreadable"

    def get_error(self, index: int) -> ParserError:
        return ParserError()


class Config:
    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.settings: list[tuple[str, int]] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.settings.append((f"no {flag.name}", 0))

    def set_memory_pool_limit(self, pool: MemoryPoolType, limit: int) -> None:
        self.settings.append((pool.name, limit))


class Builder:
    def __init__(self, log: ILogger) -> None:
        self.log = log

    def create_network(self, flags: int) -> Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self) -> Config:
        return Config()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        print("libraries print what they like")
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        monitor.step_complete("Building engine", 0)
        do = network.content.get("do")
        if do == "be killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if do == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if do == "raise":
            raise TypeError("factory function returned nullptr")
        if do == "exhaust the host":
            raise MemoryError
        if do == "exhaust the device":
            self.log.log(Severity.WARNING, "Skipping tactic 3")
            self.log.log(Severity.ERROR, "resizePhysical: Error Code 2: OutOfMemory (requested 9)")
        if do == "find no kernel":
            self.log.log(Severity.ERROR, "Could not find any implementation for node x + y.")
        if do == "refuse":
            self.log.log(Severity.ERROR, "Error Code 4: the graph has a cycle\n  at graph.cpp")
            self.log.log(Severity.ERROR, "and so no engine was built")
        if do in ("exhaust the device", "find no kernel", "refuse"):
            return None
        monitor.phase_finish("Building engine")
        made = {**network.content, "version": __version__, "settings": config.settings}
        return json.dumps(made).encode()


class Context:
    def __init__(self, plan: dict[str, Any], log: ILogger) -> None:
        self.plan, self.log = plan, log

    def set_tensor_address(self, name: str, address: int) -> bool:
        calls.append(("address", name, address))
        return bool(self.plan.get("do") != "refuse addresses")

    def execute_async_v3(self, stream: int) -> bool:
        calls.append(("enqueue", stream))
        if self.plan.get("do") == "fail":
            self.log.log(Severity.ERROR, "enqueueV3: Error Code 1: Cuda Runtime (illegal address)")
            return False
        return True


class Engine:
    def __init__(self, plan: dict[str, Any], log: ILogger) -> None:
        self.plan, self.log = plan, log
        inputs = [(Tensor(*t), TensorIOMode.INPUT) for t in plan["inputs"]]
        outputs = [(Tensor(*t), TensorIOMode.OUTPUT) for t in plan["outputs"]]
        # In an order of its own.
        self.tensors = {t.name: (t, mode) for t, mode in reversed([*inputs, *outputs])}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return [*self.tensors][index]

    def get_tensor_shape(self, name: str) -> list[int]:
        return self.tensors[name][0].shape

    def get_tensor_dtype(self, name: str) -> DataType:
        return self.tensors[name][0].dtype

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self.tensors[name][1]

    def create_execution_context(self) -> Context | None:
        if self.plan.get("do") == "have no memory for a context":
            self.log.log(Severity.ERROR, "allocate: Cuda Runtime (out of memory)")
            return None
        if self.plan.get("do") == "refuse a context":
            self.log.log(Severity.ERROR, "Error Code 3: this engine wants memory of its user's")
            return None
        return Context(self.plan, self.log)


class Runtime:
    def __init__(self, log: ILogger) -> None:
        self.log = log
        calls.append(("runtime",))

    def deserialize_cuda_engine(self, plan: Any) -> Engine | None:
        calls.append(("deserialize",))
        tree = json.loads(bytes(plan))
        if tree["version"] != __version__:
            self.log.log(Severity.ERROR, "Version tag does not match. Note: Current Version: 239")
            return None
        if tree.get("do") == "never load":
            self.log.log(Severity.ERROR, "the target GPU is not supported")
            return None
        if tree.get("do") == "have no memory":
            self.log.log(Severity.ERROR, "Requested amount of GPU memory could not be allocated.")
            return None
        return Engine(tree, self.log)

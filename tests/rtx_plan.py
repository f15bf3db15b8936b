"""Builds a TensorRT-RTX plan of an ONNX file; needs no GPU and no driver.

    python tests/rtx_plan.py network.onnx network.plan

Prints the warnings and errors of TensorRT-RTX as a JSON list of lines; writes no plan if it refused
the file. Each build is a separate process, since a graph can crash it. No runtime object is made,
because that needs a driver.
"""

import json
import sys
from pathlib import Path

import tensorrt_rtx_bindings as trt


class Log(trt.ILogger):  # type: ignore[misc]
    """Keeps warnings and errors."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.lines: list[str] = []

    def log(self, severity: "trt.ILogger.Severity", message: str) -> None:
        """Called by TensorRT-RTX."""
        if severity <= trt.ILogger.WARNING:
            self.lines.append(f"{severity.name}: {message}")


def build(model: Path, plan: Path) -> list[str]:
    """Parse and build in the precision that the file says."""
    log = Log()
    builder = trt.Builder(log)
    typed_by_the_file = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed_by_the_file)
    if trt.OnnxParser(network, log).parse_from_file(str(model)):
        serialised = builder.build_serialized_network(network, builder.create_builder_config())
        if serialised is not None:
            plan.write_bytes(serialised)
    return log.lines


if __name__ == "__main__":
    print(json.dumps(build(*map(Path, sys.argv[1:]))))

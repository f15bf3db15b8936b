"""One node of a system to one ONNX file.

Every file has static shapes for a batch of one and holds its weights itself: one file, one hash.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import onnx
import torch

from ckd.contract.errors import EngineError
from ckd.train.folds.exported import ExportedNode, example_inputs
from ckd.train.systems.graph import Node, System

#: Opset by the precision of a file. TensorRT 10.3+, ONNX Runtime and OpenVINO all read 18; 19 is
#: the first whose QuantizeLinear takes half precision, which INT8 files for a GPU are made from.
OPSET: Final[Mapping[str, int]] = {"fp32": 18, "fp16": 19}


def export_onnx(node: Node, system: System, path: Path, precision: str = "fp32") -> None:
    """Write a node as ONNX.

    Args:
        node: of ``system``.
        system: put into evaluation mode; its other nodes give the shapes of the inputs.
        path: of the .onnx file.
        precision: "fp32" or "fp16".

    Raises:
        EngineError: the exporter wrote other inputs, outputs or another opset than asked for.
    """
    system.eval()  # in training mode batch normalisation would be traced with batch statistics
    inputs = example_inputs(system, node, precision)
    with _quiet():
        torch.onnx.export(
            ExportedNode(node, precision).eval(),
            inputs,
            str(path),
            input_names=list(node.inputs),
            output_names=list(node.outputs),
            opset_version=OPSET[precision],
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    model = onnx.load(str(path))
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    names = tuple(i.name for i in model.graph.input), tuple(o.name for o in model.graph.output)
    if names != (node.inputs, node.outputs):
        raise EngineError(
            f"{node.name}: the exporter named inputs and outputs {names}, "
            f"expected {(node.inputs, node.outputs)}"
        )
    # Asked for an opset it cannot convert to, the exporter logs and writes another one.
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if opset != OPSET[precision]:
        raise EngineError(
            f"{node.name}: the exporter wrote opset {opset}, expected {OPSET[precision]}"
        )


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on the exporting machine: source paths and stack traces."""
    model.doc_string = ""
    model.graph.doc_string = ""
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    """Silence the exporter, which reports its progress on stdout, in warnings and in logs."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

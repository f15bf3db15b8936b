"""Other ways to run a system: PyTorch, ONNX Runtime and OpenVINO on one graph of the whole of it.

Each is a function from the resized image to the system's outputs.

Suffixes: S side of the network's input; C channels in RGB order.
"""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.benchmarks.report import Kind
from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image

#: From the resized image to the system's outputs by name.
Infer = Callable[[NDArray[np.uint8]], Mapping[str, NDArray[Any]]]


def open_peer(
    kind: Kind, source: Path, spec: CascadeSpec, threads: int, stack: contextlib.ExitStack
) -> Infer:
    """All networks of ``source`` in one call.

    Args:
        kind: "fused" or "pytorch".
        source: ONNX file, or run folder of `ckd-train fit`.
        spec: of the bundle that the system is compared with.
        threads: for its library.
        stack: gives back what is changed in this process.

    Raises:
        EnvironmentUnusable: the library is not installed.
        UsageError: the system has other classes or outputs than the bundle.
    """
    try:
        if kind == "fused":
            return _open_fused(source, spec, threads)
        return _open_pytorch(source, spec, threads, stack)
    except ImportError as error:
        raise EnvironmentUnusable(
            f"{error.name} is not installed; this comparison needs `pip install '.[export]'` "
            "in the folder of this project"
        ) from error


def open_nncf(fused: Path, spec: CascadeSpec, threads: int, calibration: Sequence[Path]) -> Infer:
    """The fused graph, quantised by NNCF with default settings and run by OpenVINO."""
    import nncf
    import openvino as ov

    images = [network_image(read_rgb(path), spec.image_size) for path in calibration]
    core = ov.Core()
    with contextlib.redirect_stdout(sys.stderr):  # it draws its progress on stdout
        model = nncf.quantize(
            core.read_model(fused), nncf.Dataset(images, lambda image_SSC: {IMAGE: image_SSC[None]})
        )
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    compiled = core.compile_model(model, "CPU", settings)
    names = spec.outputs.names()

    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        tensors = compiled({IMAGE: image_SSC[None]})
        return {name: tensors[name] for name in names}

    return infer


def _open_fused(path: Path, spec: CascadeSpec, threads: int) -> Infer:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Its threads spin during a call, as by default, and sleep during other contenders' turns.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = list(spec.outputs.names())
    if missing := set(names) - {value.name for value in session.get_outputs()}:
        raise UsageError(f"{path.name} has no output {', '.join(sorted(missing))}")

    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {IMAGE: image_SSC[None]}), strict=True))

    return infer


def _open_pytorch(run: Path, spec: CascadeSpec, threads: int, stack: contextlib.ExitStack) -> Infer:
    import torch

    from ckd.train.fitting.run_folder import load_run
    from ckd.train.systems.rewrite import explained

    _, system = load_run(run)
    if spec.outputs.class_map is not None:
        system = explained(system)
    system.to(memory_format=torch.channels_last)  # as in training; the faster one for MobileNetV2
    if (system.labels, system.image_size) != (spec.labels, spec.image_size):
        raise UsageError(
            f"{run} has classes {', '.join(system.labels)} at {system.image_size} px; "
            f"the bundle has {', '.join(spec.labels)} at {spec.image_size} px"
        )
    stack.callback(torch.set_num_threads, torch.get_num_threads())
    torch.set_num_threads(threads)
    names = spec.outputs.names()

    @torch.inference_mode()
    def infer(image_SSC: NDArray[np.uint8]) -> Mapping[str, NDArray[Any]]:
        tensors = system(torch.from_numpy(image_SSC)[None])
        return {name: tensors[name].numpy() for name in names}

    return infer

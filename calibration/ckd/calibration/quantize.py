"""One network in INT8: ranges measured by ONNX Runtime's calibrators, Q/DQ placed in the graph.

The form is the one that TensorRT 10.3+, 11 and TensorRT-RTX take: signed, symmetric (zero point
0), weights per channel, biases in float.
"""

import contextlib
import hashlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.calibrate import (
    TensorsData,
    create_calibrator,
    load_tensors_data,
    save_tensors_data,
)

from ckd.calibration.cpu_file import drop_unused_constants
from ckd.calibration.lint import check_quantized
from ckd.calibration.placement import LAYERS
from ckd.contract.errors import InputError

Method = Literal["minmax", "percentile", "entropy"]
METHODS: Final[Mapping[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
#: The histogram calibrators keep every activation of a batch in memory, some 40 MB an image for a
#: MobileNetV2 network at 192 px; this many images are collected at a time.
IMAGES_AT_ONCE: Final = 8

Feeds = Mapping[str, NDArray[Any]]


def quantise(
    model: onnx.ModelProto,
    layers: Iterable[str],
    feeds: Callable[[], Iterable[Feeds]],
    *,
    method: Method,
    data_digest: str,
    cache: Path,
) -> onnx.ModelProto:
    """The network with Q/DQ pairs.

    Args:
        model: in float32 or half precision; the latter at opset 19, the first whose Q/DQ takes it.
        layers: names of the ONNX nodes to quantise, see `quantised_layers`.
        feeds: gives the network's inputs, image by image; not called if the ranges are known.
        method: "minmax" takes the extremes, "percentile" cuts off the outermost 0.001 %, "entropy"
            the threshold that loses least information (Kullback-Leibler).
        data_digest: of the images and of everything before this network, so that ranges measured
            on other data are not taken for these.
        cache: folder in which ranges are kept.

    Raises:
        InputError: a range is not finite, or there are no images.
        GateFailed: what came out is not what TensorRT takes.
    """
    key = hashlib.sha256(model.SerializeToString(deterministic=True))
    key.update(json.dumps([data_digest, method, onnxruntime.__version__]).encode())
    ranges = cache / f"{key.hexdigest()[:32]}.json"
    if not ranges.is_file():
        measured = _measure(model, feeds(), METHODS[method])
        save_tensors_data(measured, ranges)
    else:
        measured = load_tensors_data(ranges)
    _check_finite(measured)
    kinds = sorted({*LAYERS, "Add"})
    with tempfile.TemporaryDirectory() as folder, _quiet():
        written = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            written,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            nodes_to_quantize=sorted(layers),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=METHODS[method],
            calibration_cache_path=ranges,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": kinds,
            },
        )
        quantised = onnx.load(written)
    drop_unused_constants(quantised)
    check_quantized(quantised)
    return quantised


def _measure(
    model: onnx.ModelProto, feeds: Iterable[Feeds], method: CalibrationMethod
) -> TensorsData:
    """Ranges of the inputs and outputs of all layers and sums."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            sorted({*LAYERS, "Add"}),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=method,
            extra_options={"symmetric": True},
        )
        images = iter(feeds)
        batches = iter(lambda: list(islice(images, IMAGES_AT_ONCE)), [])
        empty = True
        for batch in batches:
            calibrator.collect_data(_Reader(batch))
            empty = False
        if empty:
            raise InputError("no images to measure ranges on")
        measured = calibrator.compute_data()
    assert isinstance(measured, TensorsData)
    return measured


def _check_finite(ranges: TensorsData) -> None:
    for name, found in ranges.items():
        low, high = (float(np.asarray(value).item()) for value in found.range_value)
        if not np.isfinite([low, high]).all():
            raise InputError(
                f"tensor {name} ranges from {low} to {high}: not finite on these images"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser reports its progress on stdout and advice as warnings; neither is ours."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


class _Reader(CalibrationDataReader):  # type: ignore[misc] # comes without types
    """A batch, one image at a time, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: Iterable[Feeds]) -> None:
        self._images: Iterator[Feeds] = iter(batch)

    def get_next(self) -> Feeds | None:
        """None at the end."""
        return next(self._images, None)

"""One network in INT8: ranges measured by ONNX Runtime's calibrators, Q/DQ placed in the graph.

The form is the one that TensorRT 10.3+, 11 and TensorRT-RTX take: signed, symmetric (zero point
0), weights per channel, biases in float.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import save_tensors_data

from ckd.calibration.activations import (
    MEASURED,
    METHODS,
    Feeds,
    Method,
    measure_activations,
    quiet,
)
from ckd.calibration.cpu_file import drop_unused_constants
from ckd.calibration.lint import check_quantized
from ckd.contract.version import ckd_version
from ckd.runtime.cache import Store


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
            takes the threshold that loses least information (Kullback-Leibler).
        data_digest: of the images and of everything before this network, so that ranges measured
            on other data are not taken for these.
        cache: folder in which ranges are kept.

    Raises:
        InputError: a tensor is not finite on an image, or there are no images.
        GateFailed: the result is not what TensorRT takes.
    """
    store, key = Store(cache), _key(model, method, data_digest)
    with tempfile.TemporaryDirectory() as folder, quiet():
        ranges = Path(folder) / "ranges.json"
        if isinstance(known := store.read(key), str):
            ranges.write_text(known)
        else:
            save_tensors_data(measure_activations(model, feeds(), method), ranges)
            store.write(key, ranges.read_text())
        quantised = place_pairs(model, layers, ranges, method)
    check_quantized(quantised)
    return quantised


def place_pairs(
    model: onnx.ModelProto, layers: Iterable[str], ranges: Path, method: Method = "minmax"
) -> onnx.ModelProto:
    """The network with Q/DQ pairs at the inputs of layers, signed and symmetric.

    Args:
        model: in float.
        layers: names of the ONNX nodes to quantise.
        ranges: a file of `onnxruntime.quantization.calibrate.save_tensors_data`.
        method: that the ranges were chosen by.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        written = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            written,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(MEASURED),
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
                "OpTypesToExcludeOutputQuantization": list(MEASURED),
            },
        )
        quantised = onnx.load(written)
    drop_unused_constants(quantised)
    return quantised


def _key(model: onnx.ModelProto, method: Method, data_digest: str) -> Mapping[str, str]:
    """Everything that ranges depend on."""
    return {
        "network": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        "data": data_digest,
        "method": method,
        "onnxruntime": onnxruntime.__version__,
        "ckd": ckd_version(),
    }

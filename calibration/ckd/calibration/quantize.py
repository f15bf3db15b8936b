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
    TensorData,
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

from ckd.calibration.cpu_file import drop_unused_constants
from ckd.calibration.lint import check_quantized
from ckd.calibration.placement import LAYERS
from ckd.contract.errors import InputError
from ckd.contract.version import ckd_version
from ckd.runtime.cache import replace_file

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

_log = logging.getLogger(__name__)


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
        InputError: a tensor is not finite on an image, or there are no images.
        GateFailed: what came out is not what TensorRT takes.
    """
    key = hashlib.sha256(model.SerializeToString(deterministic=True))
    key.update(json.dumps([data_digest, method, onnxruntime.__version__, ckd_version()]).encode())
    remembered = cache / f"{key.hexdigest()[:32]}.json"
    kinds = sorted({*LAYERS, "Add"})
    with tempfile.TemporaryDirectory() as folder, _quiet():
        written, ranges = Path(folder) / "int8.onnx", Path(folder) / "ranges.json"
        if (known := _known(remembered)) is not None:
            ranges.write_text(known)
        else:
            save_tensors_data(_measure(model, feeds(), method), ranges)
            _remember(remembered, ranges.read_text())
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


def _measure(model: onnx.ModelProto, feeds: Iterable[Feeds], method: Method) -> TensorsData:
    """Ranges of the inputs and outputs of all layers and sums."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            sorted({*LAYERS, "Add"}),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=METHODS[method],
            extra_options={"symmetric": True},
        )
        calibrator.infer_session = _Checked(calibrator.infer_session)
        images = iter(feeds)
        batches = iter(lambda: list(islice(images, IMAGES_AT_ONCE)), [])
        empty = True
        try:
            for batch in batches:
                calibrator.collect_data(_Reader(batch))
                empty = False
            if empty:
                raise InputError("no images to measure ranges on")
            measured = calibrator.compute_data()
        except ValueError as error:  # NumPy's histograms of a tensor that hardly changes
            raise InputError(
                f"the images give no ranges by {method} ({error}); take images that show "
                "different lesions"
            ) from error
    half = _half_tensors(model)

    def limit(name: str, value: Any) -> NDArray[Any]:
        return np.asarray(value, np.float16 if name in half else np.float32)

    # Without the histograms, and in the type of the tensor, which the scales take over.
    limits = {
        name: TensorData(lowest=limit(name, low), highest=limit(name, high))
        for name, found in measured.items()
        for low, high in [found.range_value]
    }
    return TensorsData(METHODS[method], limits)


def _half_tensors(model: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    half = onnx.TensorProto.FLOAT16
    return {value.name for value in values if value.type.tensor_type.elem_type == half}


def _known(path: Path) -> str | None:
    """Ranges measured before, as ONNX Runtime writes them; None if there are none, or damaged."""
    try:
        digest, _, text = path.read_text().partition("\n")
    except (OSError, ValueError):
        return None
    return text if digest == _digest(path, text) else None


def _remember(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, f"{_digest(path, text)}\n{text}".encode())
    except OSError as error:  # a full or read-only disk: they are measured again next time
        _log.info("ranges cannot be remembered: %s", error)


def _digest(path: Path, text: str) -> str:
    """Of ranges and what they are of: wrong ones make a network that is wrong and looks whole."""
    return hashlib.sha256(f"{path.stem}\n{text}".encode()).hexdigest()


class _Checked:
    """A session whose outputs are finite, and single precision: what the calibrators can count.

    They would pass over a value that is not a number, and NumPy bins no half precision.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Any, feed: Feeds) -> list[NDArray[Any]]:
        """As the session's; `InputError` where a tensor is not finite."""
        given = self._session.run(names, feed)
        for output, values in zip(self.get_outputs(), given, strict=True):
            if not np.isfinite(values).all():
                raise InputError(
                    f"tensor {output.name} is not finite on an image to calibrate by; the network "
                    "or the image is damaged"
                )
        return [values.astype(np.float32) for values in given]


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

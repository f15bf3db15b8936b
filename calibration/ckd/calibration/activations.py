"""Ranges of the activations of one network, measured on images by ONNX Runtime's calibrators."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import TensorData, TensorsData, create_calibrator

from ckd.calibration.placement import LAYERS
from ckd.contract.errors import InputError

Method = Literal["minmax", "percentile", "entropy"]
METHODS: Final[Mapping[Method, CalibrationMethod]] = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
#: Operators whose inputs and outputs get ranges.
MEASURED: Final = tuple(sorted({*LAYERS, "Add"}))
#: The histogram calibrators keep every activation of a batch in memory, some 40 MB an image for a
#: MobileNetV2 network at 192 px; this many images are collected at a time.
IMAGES_AT_ONCE: Final = 8

#: The inputs of a network for one image, by name.
Feeds = Mapping[str, NDArray[Any]]


def measure_activations(
    model: onnx.ModelProto, feeds: Iterable[Feeds], method: Method
) -> TensorsData:
    """Ranges of the inputs and outputs of all layers and sums.

    Raises:
        InputError: a tensor is not finite on an image, there are no images, or they are too alike.
    """
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "float.onnx"
        onnx.save(model, path)
        calibrator = create_calibrator(
            path,
            list(MEASURED),
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=METHODS[method],
            extra_options={"symmetric": True},
        )
        calibrator.infer_session = _CheckedSession(calibrator.infer_session)
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
        for name, tensor in measured.items()
        for low, high in [tensor.range_value]
    }
    return TensorsData(METHODS[method], limits)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the quantiser, which reports its progress on stdout and gives advice as warnings."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def _half_tensors(model: onnx.ModelProto) -> set[str | None]:
    """Names of the tensors in half precision."""
    graph = ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph
    values = (*graph.inputs, *(value for node in graph for value in node.outputs))
    return {value.name for value in values if value.dtype == ir.DataType.FLOAT16}


class _CheckedSession:
    """A session whose outputs are finite, and single precision: what the calibrators can count.

    The calibrators would pass over a value that is not a number, and NumPy makes no histograms of
    half precision.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.get_inputs, self.get_outputs = session.get_inputs, session.get_outputs

    def run(self, names: Any, feed: Feeds) -> list[NDArray[Any]]:
        """Run the session; raise `InputError` where a tensor is not finite."""
        outputs = self._session.run(names, feed)
        for output, values in zip(self.get_outputs(), outputs, strict=True):
            if not np.isfinite(values).all():
                raise InputError(
                    f"tensor {output.name} is not finite on an image to calibrate by; the network "
                    "or the image is damaged"
                )
        return [values.astype(np.float32) for values in outputs]


class _Reader(CalibrationDataReader):  # type: ignore[misc] # comes without types
    """A batch, one image at a time, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: Iterable[Feeds]) -> None:
        self._images: Iterator[Feeds] = iter(batch)

    def get_next(self) -> Feeds | None:
        """The next image; None at the end."""
        return next(self._images, None)

"""Photographs for the tiny bundle, and what plain ONNX Runtime makes of them.

Suffixes: H rows, W columns, C channels in RGB order, S network side in pixels.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.cuda.fake_engine import Function, Tensors

from ckd.contract.bundle import Bundle
from ckd.contract.hashes import write_hashes
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.finding import Finding

SIDE = 32
NODES = ["rootseg", "cls", "seg_encoder", "seg_decoder"]


def photo(seed: int, height: int = 60, width: int = 90) -> NDArray[np.uint8]:
    """Smooth colours with a dark spot; another for every seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 255, (6, 9, 3), np.uint8)
    image_HWC = np.asarray(
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    )
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    spot_HW = (y - rng.uniform(-0.3, 0.3)) ** 2 + (x - rng.uniform(-0.3, 0.3)) ** 2 < 0.2
    return np.where(spot_HW[..., None], image_HWC // 3, image_HWC).astype(np.uint8)


def edit_spec(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = folder / "cascade.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    write_hashes(folder)
    return folder


def chained(bundle: Bundle, small_SSC: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """The same graph through plain ONNX Runtime, one dictionary to the next."""
    tensors: dict[str, NDArray[Any]] = {IMAGE: small_SSC[None]}
    for node in bundle.spec.nodes:
        session = onnxruntime.InferenceSession(
            bundle.read(node.files["fp32"]), providers=["CPUExecutionProvider"]
        )
        outputs = session.run(list(node.outputs), {name: tensors[name] for name in node.inputs})
        tensors.update(zip(node.outputs, outputs, strict=True))
    return tensors


def session_function(node: NodeSpec, onnx: Content) -> Function:
    """A network as a function, for engines on the recording device."""
    session = onnxruntime.InferenceSession(onnx.read(), providers=["CPUExecutionProvider"])

    def run(inputs: Tensors) -> Tensors:
        return dict(zip(node.outputs, session.run(list(node.outputs), inputs), strict=True))

    return run


def assert_equal(one: Finding, two: Finding) -> None:
    """Apart from how long it took."""
    assert (one.probabilities, one.quality) == (two.probabilities, two.quality)
    np.testing.assert_array_equal(one.mask_HW, two.mask_HW)
    np.testing.assert_array_equal(one.coarse_mask_HW, two.coarse_mask_HW)

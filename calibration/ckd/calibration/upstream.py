"""The inputs of one network: the images, and what the networks before it made of them.

Networks before it run in the precision already chosen for them, so that a network is calibrated on
their rounding and not on the exact tensors, which it will never get.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from ckd.calibration.activations import Method
from ckd.calibration.quantize import quantise
from ckd.console import Bars, no_bars
from ckd.contract.listed import Content
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.backends import open_backend
from ckd.runtime.cache import cache_folder
from ckd.runtime.chain import Chain
from ckd.runtime.closing import Closing


class Upstream(Closing):
    """The networks of a cascade before the one under calibration, on ONNX Runtime's CPU kernels.

    Args:
        spec: of the float32 cascade.
        images: files by SHA-256, read anew for every network: tensors of all images would not fit
            into memory.
        bars: begins one bar for each network.
    """

    def __init__(self, spec: CascadeSpec, images: Mapping[str, Path], bars: Bars = no_bars) -> None:
        self.spec, self.images = spec, tuple(images.values())
        self._bars = bars
        self._chain = Chain(spec, open_backend("onnxruntime", "cpu", None), "fp32")
        self._digest = hashlib.sha256()
        for digest in images:
            self._digest.update(digest.encode())

    @property
    def digest(self) -> str:
        """SHA-256 of the images and of every network so far."""
        return self._digest.hexdigest()

    def feeds(self, node: NodeSpec, kind: str = "fp32") -> Iterator[Mapping[str, NDArray[Any]]]:
        """The inputs of the next network, image by image, in the types of a kind of its files.

        Raises:
            InputError: an image cannot be read.
        """
        progress = self._bars(f"ranges of {node.name}")
        for done, path in enumerate(self.images, start=1):
            small_HWC = network_image(read_rgb(path), self.spec.image_size)
            yield {
                name: array.astype(self.spec.tensor(name, kind).dtype)
                for name, array in self._chain.inputs_of(node.name, small_HWC).items()
            }
            progress(done, len(self.images))

    def quantise(
        self,
        node: NodeSpec,
        model: onnx.ModelProto,
        layers: Iterable[str],
        method: Method,
        kind: str = "fp32",
    ) -> onnx.ModelProto:
        """Quantise the next network, whose file of a kind is ``model``; see `quantise`."""
        return quantise(
            model,
            layers,
            lambda: self.feeds(node, kind),
            method=method,
            data_digest=self.digest,
            cache=cache_folder() / "ranges",
        )

    def append(self, node: NodeSpec, content: bytes) -> None:
        """Add a network, as it will be shipped, to those that run before the next one."""
        self._chain.load(node.name, Content.of(content))
        self._digest.update(content)

    def close(self) -> None:
        """Release every engine."""
        self._chain.close()

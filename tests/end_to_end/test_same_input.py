"""For one photograph, the networks get the same bytes on every way that leads to them.

The input of the networks is taken where they take it: what a way does before that may not differ.
On a GPU images are resized there, which tests of `ckd.runtime.cuda` compare.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from icc import ADOBE_RGB, rgb_profile
from lossless_video import write_lossless_video
from numpy.typing import NDArray
from PIL import Image
from tests.runtime.photographs import photo

from ckd.benchmarks.contenders import SystemContender
from ckd.calibration.ranges import measure_ranges
from ckd.calibration.upstream import Upstream
from ckd.contract.bundle import Bundle
from ckd.data.samples import Sample, SampleSet
from ckd.picture.decode import read_rgb
from ckd.runtime.cascade import Cascade
from ckd.runtime.chain import Chain
from ckd.runtime.sources import VideoFile, open_source
from ckd.train.evaluation import views
from ckd.train.evaluation.scoring import PlainImages
from ckd.train.feeding.augmentation import Augmentation
from ckd.train.systems.graph import System

Pixels = NDArray[np.uint8]


def save(path: Path, image_HWC: Pixels, orientation: int = 1, **options: Any) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(image_HWC).save(path, exif=exif, **options)


def with_alpha(image_HWC: Pixels) -> Pixels:
    return np.dstack([image_HWC, np.linspace(0, 255, image_HWC[..., 0].size).reshape(
        image_HWC.shape[:2]).astype(np.uint8)])  # fmt: skip


PHOTOGRAPHS: dict[str, Callable[[Path], None]] = {
    "odd.png": lambda path: save(path, photo(1, 61, 47)),
    "smallest.png": lambda path: save(path, photo(2, 16, 16)),
    "portrait.jpg": lambda path: save(path, photo(3, 90, 40), quality=90),
    "turned.jpg": lambda path: save(path, photo(4, 50, 80), orientation=6, quality=90),
    "turned_odd.png": lambda path: save(path, photo(5, 33, 71), orientation=7),
    "alpha.png": lambda path: save(path, with_alpha(photo(6))),
    "profile.png": lambda path: save(path, photo(7), icc_profile=rgb_profile(ADOBE_RGB)),
    "halved.webp": lambda path: save(path, photo(8, 256, 384), lossless=True),
    "of_network_size.bmp": lambda path: Image.fromarray(photo(9, 32, 32)).save(path),
    "grey16.tif": lambda path: Image.fromarray(
        photo(10)[..., 0].astype(np.uint16) * 257
    ).save(path),
}  # fmt: skip


class Taken(list[bytes]):
    """Digests of the pictures of network size that networks were given."""

    def take(self, image_SSC: NDArray[Any]) -> None:
        assert image_SSC.dtype == np.uint8
        assert image_SSC.shape == (32, 32, 3)
        self.append(hashlib.sha256(np.ascontiguousarray(image_SSC).tobytes()).digest())


@pytest.fixture(scope="module")
def cascade(tiny_bundle: Path) -> Iterator[Cascade]:
    with Cascade.load(tiny_bundle, "onnxruntime") as loaded:
        yield loaded


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """What chains are given from now on, and systems under evaluation."""
    digests = Taken()
    for name in ("run", "inputs_of"):
        method = getattr(Chain, name)

        def spied(
            chain: Chain, *arguments: Any, method: Callable[..., Any] = method, **options: Any
        ) -> Any:
            digests.take(next(a for a in arguments if isinstance(a, np.ndarray)))
            return method(chain, *arguments, **options)

        monkeypatch.setattr(Chain, name, spied)

    def run(system: System, images_NVHWC: Pixels, *_: object) -> Mapping[str, Any]:
        digests.take(images_NVHWC[0, 0])
        return {}

    monkeypatch.setattr(views, "_run", run)
    return digests


@pytest.mark.parametrize(
    "name", [*PHOTOGRAPHS, pytest.param("of_64_megapixels.jpg", marks=pytest.mark.system)]
)
def test_every_way_gives_the_networks_the_same_bytes(
    name: str, cascade: Cascade, tiny_bundle: Path, taken: Taken, tmp_path: Path
) -> None:
    path, film = tmp_path / name, tmp_path / "film.avi"
    if is_large := name not in PHOTOGRAPHS:
        save(path, photo(11, 80, 80).repeat(100, axis=0).repeat(100, axis=1), quality=90)
    else:
        PHOTOGRAPHS[name](path)
    image_HWC, spec = read_rgb(path), cascade.spec
    sample, side = Sample("a", path), spec.image_size

    def evaluate_and_crossvalidate() -> None:
        system = SimpleNamespace(image_size=side, outputs=spec.outputs, nodes=spec.nodes)
        list(views.image_logits(cast(System, system), [sample], "1", Augmentation()))

    def validation_in_training() -> None:
        images = PlainImages(SampleSet("", "val", (), (sample,)), side)
        taken.take(images[0]["image"].numpy())

    def calibration() -> None:
        with Upstream(spec, {"": path}) as upstream:
            list(upstream.feeds(spec.nodes[0]))

    def video() -> None:
        with VideoFile(film) as frames:
            frame = frames.get()
        assert frame is not None
        assert np.array_equal(frame.image_HWC, image_HWC)
        list(cascade.stream([frame.image_HWC]))

    def camera() -> None:
        with open_source(str(film), live=True) as frames:
            frame = frames.get(timeout_s=5)
        assert frame is not None
        cascade.predict(frame.image_HWC)

    def benchmark() -> None:
        contender = SystemContender(cascade.chain.run, Bundle(tiny_bundle), image_HWC)
        contender.predict(image_HWC)

    ways: dict[str, Callable[[], object]] = {
        "image": lambda: cascade.predict(image_HWC),
        "image from Python": lambda: cascade.predict(path),
        "evaluate, crossvalidate": evaluate_and_crossvalidate,
        "validation in training": validation_in_training,
        "quantize": calibration,
        "ranges": lambda: measure_ranges(cascade, [path]),
        "video": video,
        "camera": camera,
        "benchmark": benchmark,
    }
    if is_large:  # no film has such frames
        del ways["video"], ways["camera"]
    else:
        write_lossless_video(film, [image_HWC] * 3)
    given: dict[str, bytes] = {}
    for way, go in ways.items():
        taken.clear()
        go()
        assert len(taken) == 1, f"{way} gave the networks {len(taken)} pictures"
        given[way] = taken[0]
    assert given == dict.fromkeys(ways, given["image"])


def test_the_photographs_are_told_apart(cascade: Cascade, taken: Taken, tmp_path: Path) -> None:
    """A digest of nothing in particular would be the same everywhere, too."""
    for name, write in PHOTOGRAPHS.items():
        write(tmp_path / name)
        cascade.predict(tmp_path / name)
    assert len(set(taken)) == len(PHOTOGRAPHS)

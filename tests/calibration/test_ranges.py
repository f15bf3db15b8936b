import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ckd.calibration.ranges import FP16_MAX, Range, measure_ranges
from ckd.contract.errors import InputError
from ckd.runtime import Cascade


def _images(folder: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [folder / f"{index}.png" for index in range(count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return paths


def test_ranges_are_those_of_the_tensors_themselves(tiny_bundle: Path, tmp_path: Path) -> None:
    paths = _images(tmp_path, 3)
    told: list[tuple[int, int]] = []
    with Cascade.load(tiny_bundle) as cascade:
        ranges = measure_ranges(cascade, paths, lambda *step: told.append(step))
        name = cascade.spec.outputs.names()[0]
        findings = []
        for path in paths:
            cascade.predict(path)
            findings.append(cascade.chain.buffers[name].read().copy())
    values = np.stack(findings).astype(np.float64)
    assert set(ranges) == set(cascade.spec.shapes) - {"image"}
    assert ranges[name].low == values.min()
    assert ranges[name].high == values.max()
    assert ranges[name].num_images == 3
    # Sums are taken image by image there and at once here.
    assert ranges[name].mean == pytest.approx(values.mean(), rel=1e-9)
    assert ranges[name].std == pytest.approx(values.std(), rel=1e-6)
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_headroom_is_one_at_the_largest_half() -> None:
    assert Range(-FP16_MAX, 1.0, 0.0, 1.0, 1).fp16_headroom == 1.0
    assert Range(0.0, 0.0, 0.0, 0.0, 1).fp16_headroom == math.inf


def test_no_images_is_an_error(tiny_bundle: Path) -> None:
    with Cascade.load(tiny_bundle) as cascade, pytest.raises(InputError, match="no images"):
        measure_ranges(cascade, [])


def test_an_unreadable_image_is_named(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("not an image")
    with Cascade.load(tiny_bundle) as cascade, pytest.raises(InputError, match=r"bad\.jpg"):
        measure_ranges(cascade, [tmp_path / "bad.jpg"])

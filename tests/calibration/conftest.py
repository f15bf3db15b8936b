"""Images to calibrate on, and a bundle with INT8 files."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import cv2
import pytest

from ckd.data.synthetic.write import dermoscopy


@pytest.fixture(scope="session")
def lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 60 small generated dermoscopy images."""
    folder = tmp_path_factory.mktemp("lesions")
    for seed in range(60):
        image_HWC = dermoscopy(seed=seed, side_px=48).image_HWC
        cv2.imwrite(str(folder / f"{seed:03d}.png"), image_HWC[..., ::-1])
    return folder


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Engines get one thread: networks are so small here that threads only wait for each other."""
    with pytest.MonkeyPatch.context() as patch:
        if find_spec("onnxruntime") is not None:
            patch.setattr("ckd.runtime.backends.onnxruntime.usable_cores", lambda: 1)
        yield

"""How many bytes a minute a recording takes: a generated lesion seen by a hand-held camera.

    PYTHONPATH=tests/support:tests/system python tests/system/recording_size.py

The picture drifts by up to two pixels a frame and has the noise of a sensor, anew in every frame,
with a deviation of so many grey levels: the less light, the more of it.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.data.synthetic import dermoscopy
from ckd.finding.overlay import FINE_RGB, draw_border
from ckd.runtime.sinks import Drawn, Recorder

SECONDS, FPS = 10, 30
SIZES_HW = ((480, 640), (1080, 1920))
NOISE = (2.0, 4.0)


def main() -> None:
    """Print megabytes a minute by size, noise and kind of file."""
    print("size        noise  .mkv MB/min  .mp4 MB/min")
    for height, width in SIZES_HW:
        for noise in NOISE:
            sizes = [megabytes_a_minute(height, width, noise, ending) for ending in ("mkv", "mp4")]
            figures = "  ".join(f"{size:11.0f}" for size in sizes)
            print(f"{width} x {height:<5} {noise:5g}  {figures}")


def megabytes_a_minute(height: int, width: int, noise: float, ending: str) -> float:
    """Record `SECONDS` of the camera; decimal megabytes a minute."""
    rng = np.random.default_rng(0)
    whole = dermoscopy(3, max(height, width) + 64)
    drawn_HWC = whole.image_HWC.copy()
    draw_border(drawn_HWC, whole.mask_HW, FINE_RGB, 4)
    # Noise of a few frames, of which each picture takes another one at another place.
    noises = [rng.normal(0, noise, (height, width, 3)).astype(np.float32) for _ in range(5)]
    at = np.array([32, 32])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"seen.{ending}"
        with Recorder(path, min_free_bytes=0, leaves_out=False, say=sys.exit) as recorder:
            for index in range(SECONDS * FPS):
                at = np.clip(at + rng.integers(-2, 3, 2), 0, 63)
                seen_HWC = drawn_HWC[at[0] : at[0] + height, at[1] : at[1] + width]
                shifts = tuple(int(shift) for shift in rng.integers(0, (height, width)))
                grain_HWC = np.roll(noises[index % len(noises)], shifts, axis=(0, 1))
                picture = partial(_noisy, seen_HWC, grain_HWC)
                recorder.write(Drawn(picture), index / FPS)
        return path.stat().st_size / 1e6 * 60 / SECONDS


def _noisy(seen_HWC: NDArray[np.uint8], grain_HWC: NDArray[np.float32]) -> NDArray[np.uint8]:
    grained = cv2.add(seen_HWC.astype(np.float32), grain_HWC)
    return np.clip(grained, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()

"""Cameras of units: scenes, and what a camera gives that is turned, mirrored or tinted.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rendered_targets import photographed

from ckd.runtime.sources import CameraFormat, Frame, FrameSource, SourceState
from ckd.runtime.unit import Unit
from ckd.runtime.unit.colour import light_of
from ckd.runtime.unit.geometry import Geometry

SIDE = 96


def scene(index: int = 0) -> NDArray[np.uint8]:
    """Skin with a spot that is nowhere symmetrical, a square of `SIDE`."""
    drawn = np.random.default_rng(index)
    grain_HW = np.asarray(cv2.GaussianBlur(drawn.normal(0, 1, (SIDE, SIDE)), (0, 0), 2)) * 40
    image_HWC = np.array([200.0, 160.0, 140.0]) + grain_HW[..., None]
    cv2.ellipse(image_HWC, (40 + index, 52), (26, 15), 25, 0, 360, (110.0, 70.0, 60.0), -1)
    cv2.ellipse(image_HWC, (52 + index, 44), (9, 6), 0, 0, 360, (60.0, 40.0, 40.0), -1)
    return np.asarray(np.clip(image_HWC, 0, 235), np.uint8)


def seen(
    image_HWC: NDArray[np.uint8], geometry: Geometry, tint: NDArray[np.float64] | None = None
) -> NDArray[np.uint8]:
    """What the camera of a unit gives of a scene: the geometry undone, then the tint."""
    if geometry.flip:
        image_HWC = image_HWC[::-1]
    if geometry.mirror:
        image_HWC = image_HWC[:, ::-1]
    image_HWC = np.rot90(image_HWC, geometry.rotate_deg // 90)
    if geometry.field_px is not None:
        x, y, diameter = geometry.field_px
        frame_HWC = np.full((SIDE + 30, SIDE + 60, 3), 9, np.uint8)
        top, left = round(y - diameter / 2), round(x - diameter / 2)
        frame_HWC[top : top + SIDE, left : left + SIDE] = image_HWC
        image_HWC = frame_HWC
    if tint is None:
        return np.ascontiguousarray(image_HWC)
    return photographed(light_of(image_HWC.astype(np.float64)), tint=tint, noise=0)


def unit_of(geometry: Geometry, tint: NDArray[np.float64] | None = None) -> Unit:
    """The unit of such a camera."""
    matrix = None
    if tint is not None:
        rows = np.linalg.inv(tint)
        matrix = tuple(tuple(map(float, row)) for row in rows)
    camera = CameraFormat()
    if geometry.field_px is not None:
        camera = CameraFormat(width_px=SIDE + 60, height_px=SIDE + 30)
    return Unit(
        path=Path("handle.toml"), name="handle", camera=camera, geometry=geometry,
        matrix=matrix, mm_per_px=0.02,  # type: ignore[arg-type]
    )  # fmt: skip


class Camera(FrameSource):
    """Gives pictures one by one, with the JPEG that they are said to come from."""

    name = "camera"
    detail = ""
    fps = None
    dropped = 0

    def __init__(self, images: Iterable[NDArray[np.uint8]]) -> None:
        self._images = [*images]
        self._num_given = 0
        self.closed = False

    @property
    def state(self) -> SourceState:
        return "ended" if self._num_given == len(self._images) else "live"

    def get(self, timeout_s: float | None = None) -> Frame | None:
        if self.state == "ended":
            return None
        image_HWC = self._images[self._num_given]
        self._num_given += 1
        return Frame(image_HWC, self._num_given - 1, time.monotonic(), b"jpeg")

    def close(self) -> None:
        self.closed = True

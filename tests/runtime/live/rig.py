"""Frames, findings and drawings of tests of the live view."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from findings import made_finding
from numpy.typing import NDArray

from ckd.finding.finding import Finding
from ckd.runtime.live import (
    LiveStatistics,
    Shown,
    Status,
)
from ckd.runtime.sinks import Drawn
from ckd.runtime.sources import Frame

HEIGHT, WIDTH = 96, 128


def analyse(image_HWC: NDArray[np.uint8]) -> Finding:
    mask_HW = np.zeros(image_HWC.shape[:2], np.bool_)
    mask_HW[:24, :32] = True
    return made_finding(mask_HW, None, {"MEL": 0.2, "SBK": 0.1, "NEV": 0.7})


def at_once(
    analyse: Callable[[NDArray[np.uint8]], Finding],
) -> Callable[[NDArray[np.uint8]], Callable[[], Finding]]:
    """For a loop: nothing is done beforehand, all where the finding is made."""
    return lambda image_HWC: partial(analyse, image_HWC)


def draw(image_HWC: NDArray[np.uint8], finding: Finding) -> NDArray[np.uint8]:
    overlay_HWC = image_HWC.copy()
    overlay_HWC[finding.mask_HW] = (255, 0, 0)
    return overlay_HWC


def frame(index: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return Frame(np.full((height, width, 3), 120, np.uint8), index, time.monotonic())


def shown(index: int = 0) -> Shown:
    one = frame(index)
    finding = analyse(one.image_HWC)
    return Shown(one, finding, Drawn(partial(draw, one.image_HWC, finding)))


LIVE = Status(state="live", statistics=LiveStatistics(num_analysed=5, num_dropped=2, fps=9.5))


def none_of_them(result: Shown) -> Shown:
    """The same result of a system whose labels may all be wrong, and are."""
    finding = replace(result.finding, probabilities={"MEL": 0.4, "SBK": 0.3}, exclusive=False)
    return replace(result, finding=finding)

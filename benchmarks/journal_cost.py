"""What a journal costs: bytes and processor time of a frame, with the embedded bundle.

    python benchmarks/journal_cost.py [--frames 60] [--tensors]

Frames of 1280x720 and 1920x1080, generated dermoscopy with a camera's noise, are analysed on one
thread and recorded into a temporary folder. Times are those that the processor spends on a frame in
one thread, so that other work on the machine changes them little:

    add       in the thread that analyses: copies, and handing over
    write     in the threads that encode and save: PNG, JPEG, JSON, files; not the wait for the disk
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.console import print_table
from ckd.data.synthetic.write import dermoscopy
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal
from ckd.runtime.journal.writing import Writer
from ckd.runtime.sources import Frame, FrameSource, SourceState

SIZES = ((1280, 720), (1920, 1080))
#: Frames a second for which bytes of a minute are given.
RATES = (10, 30)


class Photographs(FrameSource):
    """Of which a journal asks its name only."""

    name, detail, fps, dropped = "generated", "", None, 0
    state: SourceState = "live"

    def get(self, timeout_s: float | None = None) -> Frame | None:
        """None: the frames are handed over here."""
        return None

    def close(self) -> None:
        """Nothing is open."""


def photograph(width: int, height: int) -> NDArray[np.uint8]:
    """A lesion as a camera sees it: noise of four steps makes JPEG as large as it is in life."""
    drawn = np.asarray(dermoscopy(seed=1, side_px=1080).image_HWC)
    shown = cv2.resize(drawn, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 4, shown.shape)
    return np.asarray(np.clip(shown + noise, 0, 255), np.uint8)


def measure(cascade: Cascade, width: int, height: int, num_frames: int, tensors: bool) -> list[str]:
    """The row of one size."""
    image_HWC, spent_s = photograph(width, height), defaultdict[str, float](float)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for kind, method in (
            (Journal, "_hear"), (Journal, "add"), (Writer, "_encode"), (Writer, "_save"),
        ):  # fmt: skip
            timed = _timed(getattr(kind, method), method, spent_s)
            patches.enter_context(patch.object(kind, method, timed))
        with Journal(
            Path(folder), cascade, Photographs(), limit=10**11, every_tensor=tensors, waits=True
        ) as journal:
            for index in range(num_frames):
                finding = cascade.predict(image_HWC)
                journal.add(Frame(image_HWC, index, time.monotonic()), finding)
        num_bytes = sum(path.stat().st_size for path in journal.run.iterdir()) / num_frames
    minutes = [f"{60 * rate * num_bytes / 1e6:.0f}" for rate in RATES]
    totals_s = (spent_s["add"] + spent_s["_hear"], spent_s["_encode"] + spent_s["_save"])
    times = [f"{1e3 * total_s / num_frames:.2f}" for total_s in totals_s]
    return [f"{width}x{height}", f"{num_bytes / 1e3:.0f}", *minutes, *times]


def _timed(
    method: Callable[..., None], name: str, spent_s: defaultdict[str, float]
) -> Callable[..., None]:
    def timed(*arguments: Any) -> None:
        start_s = time.thread_time()
        method(*arguments)
        spent_s[name] += time.thread_time() - start_s

    return timed


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--tensors", action="store_true")
    asked = parser.parse_args()
    with Cascade.load(backend="onnxruntime", device="cpu", num_threads=1) as cascade:
        rows = [measure(cascade, *size, asked.frames, asked.tensors) for size in SIZES]
    minutes = [f"MB a minute at {rate}/s" for rate in RATES]
    head = ["photograph", "kB a frame", *minutes, "add ms", "write ms"]
    print_table(head, rows, numbers=head[1:])


if __name__ == "__main__":
    main()

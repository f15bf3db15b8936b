"""Kept: `ckd-run camera` with the embedded networks, a recording and a journal, 30 frames a second.

The camera sends 1280x720, one frame in ten of them damaged. No damaged frame is analysed, the
recording holds every analysed picture, the journal replays to the bit, and memory does not grow.
The record says how many answers there were a second, and how old a frame was when it was analysed.
"""

import itertools
import random
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
from long_run import CKD_RUN, Counts, command_line, watched
from mjpeg_camera import FAULTS, ScriptedCamera, head, part

from ckd.contract.errors import InputError
from ckd.data.synthetic import dermoscopy
from ckd.runtime.journal import open_run
from ckd.runtime.sources import VideoFile

FPS, HEIGHT, WIDTH = 30.0, 720, 1280
NUM_PICTURES = 24
#: One frame in so many is damaged.
DAMAGED_EVERY = 10
MAX_GROWTH_MIB = 20.0


def kept(minutes: float, folder: Path) -> Counts:
    """Run for so many minutes; AssertionError if anything is lost, wrong or growing."""
    whole = pictures()
    num_sent = num_damaged = 0
    stop, rng = threading.Event(), random.Random(0)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        nonlocal num_sent, num_damaged
        head(handler, "multipart/x-mixed-replace; boundary=cut")
        started_s = time.monotonic()
        for number in itertools.count():
            if stop.wait(max(0.0, started_s + number / FPS - time.monotonic())):
                return
            jpeg = whole[number % NUM_PICTURES]
            if number % DAMAGED_EVERY == DAMAGED_EVERY - 1:
                fault = FAULTS[number // DAMAGED_EVERY % len(FAULTS)]
                jpeg = fault(jpeg, whole[(number + 1) % NUM_PICTURES], rng)
                num_damaged += 1
            handler.wfile.write(part(jpeg))
            num_sent += 1

    with ScriptedCamera(answer) as camera:
        command = [*CKD_RUN, "camera", camera.url, "--view", "none", "--json"]
        command += ["--record", "seen.mkv", "--journal", "journal"]
        command += ["--duration", str(60 * minutes)]
        footprint, num_analysed, _, said = watched(command, folder)
        stop.set()
    with VideoFile(folder / "seen.mkv") as recording:
        num_recorded = sum(1 for _ in recording)
    assert num_recorded == num_analysed, (num_recorded, num_analysed)
    told = re.search(r"(\d+) frames analysed, (\d+) dropped, (\d+) damaged", said)
    assert told is not None, said
    assert int(told[1]) == num_analysed
    assert num_analysed + int(told[2]) <= num_sent - num_damaged, said  # none that was damaged
    assert num_damaged - int(told[3]) in (0, 1), said  # one may be on its way at the end
    ages_ms, num_journalled = ages(folder / "journal")
    replay = subprocess.run(
        [*CKD_RUN, "replay", "journal"], cwd=folder, capture_output=True, text=True
    )
    assert replay.returncode == 0, replay.stderr[-2000:]
    p50_ms, p99_ms = np.percentile(ages_ms, [50, 99])
    return {
        "frames": {
            "sent": num_sent,
            "damaged": num_damaged,
            "analysed": num_analysed,
            "recorded": num_recorded,
            "in_the_journal_at_the_end": num_journalled,
        },
        "answers_per_s": round(num_analysed / (60 * minutes), 1),
        "age_ms": {"p50": round(float(p50_ms), 1), "p99": round(float(p99_ms), 1)},
        "recording_mb_per_minute": round((folder / "seen.mkv").stat().st_size / 1e6 / minutes),
        "said": said,
        **footprint.check(MAX_GROWTH_MIB),
    }


def pictures() -> list[bytes]:
    """JPEG files of generated dermoscopy, with restart markers, as the faults need them."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 85, cv2.IMWRITE_JPEG_RST_INTERVAL, 4]
    found = []
    for seed in range(NUM_PICTURES):
        image_HWC = dermoscopy(seed, 360).image_HWC
        shown = cv2.resize(image_HWC, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        found.append(cv2.imencode(".jpg", shown[..., ::-1], options)[1].tobytes())
    return found


def ages(journal: Path) -> tuple[list[float], int]:
    """How old each frame was when it was analysed, in ms, as far as the ring still has it."""
    found = []
    for segment in open_run(journal).segments():
        assert not isinstance(segment, InputError), segment
        for frame in segment.frames:
            found.append(1e3 * (frame.line["analysed_s"] - frame.line["captured_s"]))
    return found, len(found)


if __name__ == "__main__":
    command_line(kept)

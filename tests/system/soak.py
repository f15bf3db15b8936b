"""Soak: `ckd-run camera` on a network camera for minutes or hours, without a viewer.

Every frame that arrives is analysed or counted as dropped, in order, and neither memory nor threads
nor open files grow.
"""

import re
from pathlib import Path

from long_run import BUNDLE, CKD_RUN, Counts, command_line, watched
from mjpeg_camera import MjpegCamera

FPS = 60.0
MAX_GROWTH_MIB = 16.0


def soak(minutes: float, folder: Path) -> Counts:
    """Run for so many minutes; AssertionError if a frame is lost or anything grows."""
    camera = MjpegCamera(fps=FPS)
    command = [*CKD_RUN, "camera", camera.url, "--view", "none", "--json", "--threads", "1"]
    command += ["--bundle", str(BUNDLE), "--duration", str(60 * minutes)]
    try:
        footprint, num_analysed, last, said = watched(command, folder)
    finally:
        camera.switch_off()
    report = re.search(r"^duration: (\d+) frames analysed, (\d+) dropped", said)
    assert report is not None, said
    assert int(report[1]) == num_analysed
    num_dropped = int(report[2])
    num_skipped = last + 1 - num_analysed
    # Frames that arrive after the last one was taken replace each other, and are counted too: those
    # of the end of the run, which no machine takes half a minute for.
    assert 0 <= num_dropped - num_skipped <= 30 * FPS, (num_dropped, num_skipped)
    assert 0 <= camera.num_sent - (last + 1) <= 30 * FPS, (camera.num_sent, last)
    return {
        "frames": {
            "sent": camera.num_sent,
            "analysed": num_analysed,
            "dropped": num_dropped,
            "out_of_order": 0,
        },
        **footprint.check(MAX_GROWTH_MIB),
    }


if __name__ == "__main__":
    command_line(soak)

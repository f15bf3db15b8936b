"""Soak: `ckd-run camera` on a network camera for minutes or hours, without a viewer.

Every frame that arrives is analysed or counted as dropped, in order, and neither memory nor threads
nor open files grow.
"""

import json
import re
import subprocess
import threading
from pathlib import Path

from long_run import BUNDLE, CKD_RUN, Counts, Footprint, command_line
from mjpeg_camera import MjpegCamera

FPS = 60.0
MAX_GROWTH_MIB = 16.0


def soak(minutes: float, folder: Path) -> Counts:
    """Run for so many minutes; AssertionError if a frame is lost or anything grows."""
    camera = MjpegCamera(fps=FPS)
    command = [*CKD_RUN, "camera", camera.url, "--view", "none", "--json", "--threads", "1"]
    command += ["--bundle", str(BUNDLE), "--duration", str(60 * minutes)]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    messages: list[str] = []
    listener = threading.Thread(target=messages.extend, args=(process.stderr,))
    listener.start()
    footprint = Footprint(process.pid)
    num_analysed, last = 0, -1
    try:
        for line in process.stdout:
            index = int(json.loads(line)["image"].rpartition("#")[2])
            assert index > last, f"frame {index} came after frame {last}"
            num_analysed, last = num_analysed + 1, index
            footprint.sample()
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
        listener.join()
        process.stdout.close()
        process.stderr.close()
        camera.switch_off()
    assert process.returncode == 0, "".join(messages)
    report = re.search(r"^duration: (\d+) frames analysed, (\d+) dropped", messages[-1])
    assert report is not None, messages
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

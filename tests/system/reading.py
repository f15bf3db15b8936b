"""What it costs to read a network camera of 1080p at 30 frames a second: our reader, and OpenCV's.

    PYTHONPATH=tests/support python tests/system/reading.py --rounds 3 --seconds 10

Both read the same camera in turn, each in a process of its own, and give RGB. What they cost is the
time of all threads on the processor, so that what else the machine does changes it little.
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from statistics import median

import cv2
import numpy as np
from mjpeg_camera import ScriptedCamera, head, part

FPS, HEIGHT, WIDTH, NUM_FRAMES = 30.0, 1080, 1920, 8
READERS = ("ours", "opencv")


def frames() -> list[bytes]:
    """JPEG files of soft colours with the noise of a sensor, some 500 KB each."""
    rng = np.random.default_rng(0)
    soft = cv2.resize(rng.integers(60, 220, (27, 48, 3), np.uint8), (WIDTH, HEIGHT))
    noisy = [soft + rng.normal(0, 4, (HEIGHT, WIDTH, 1)) for _ in range(NUM_FRAMES)]
    quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
    pictures = [np.clip(image, 0, 255).astype(np.uint8) for image in noisy]
    return [cv2.imencode(".jpg", image, quality)[1].tobytes() for image in pictures]


def read(reader: str, url: str, seconds: float) -> None:
    """Read for so long and print what it took."""
    from ckd.runtime.sources.network import NetworkOpener
    from ckd.runtime.sources.opencv import CaptureReader, open_capture, rgb_from_bgr

    if reader == "ours":
        opened = NetworkOpener(url, "camera", 5, 3)()
    else:
        capture = open_capture(url, cv2.CAP_FFMPEG)
        assert capture is not None
        opened = CaptureReader(capture)
    for _ in range(10):
        opened.read()
    num_read, started_s, started_cpu_s = 0, time.monotonic(), time.process_time()
    while time.monotonic() - started_s < seconds:
        grabbed = opened.read()
        assert grabbed is not None
        if not grabbed.is_rgb:
            rgb_from_bgr(grabbed.image)
        num_read += 1
    cpu_ms = 1e3 * (time.process_time() - started_cpu_s) / num_read
    fps = num_read / (time.monotonic() - started_s)
    print(json.dumps({"reader": reader, "cpu_ms_per_frame": cpu_ms, "frames_per_s": fps}))
    opened.close()


def main() -> None:
    """Run the readers in turn and print the median of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--read", nargs=2, metavar=("READER", "URL"))
    asked = parser.parse_args()
    if asked.read:
        reader, url = asked.read
        read(reader, url, asked.seconds)
        return
    parts = [part(jpeg) for jpeg in frames()]
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "multipart/x-mixed-replace; boundary=cut")
        started_s, number = time.monotonic(), 0
        while not stop.wait(max(0.0, started_s + number / FPS - time.monotonic())):
            handler.wfile.write(parts[number % NUM_FRAMES])
            number += 1

    measured: dict[str, list[dict[str, float]]] = {reader: [] for reader in READERS}
    with ScriptedCamera(answer) as camera:
        for _ in range(asked.rounds):
            for reader in READERS:
                command = [sys.executable, __file__, "--seconds", str(asked.seconds)]
                done = subprocess.run(
                    [*command, "--read", reader, camera.url],
                    stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                measured[reader].append(json.loads(done.stdout))
        stop.set()
    for reader, rounds in measured.items():
        for what in ("cpu_ms_per_frame", "frames_per_s"):
            print(f"{reader} {what}: {median(one[what] for one in rounds):.1f}")


if __name__ == "__main__":
    main()

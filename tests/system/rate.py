"""Rate: answers a second of `ckd-run camera` at 1080p, and their age, with and without a page.

A sender in a process of its own replays ready JPEGs, 30 a second, of a hand that looks at one
generated lesion. A third of the time nobody looks, a third a program reads the page's stream and
state as a browser does, and a third Chromium shows the page on the same cores. Nothing is asserted
of speed: run it with nothing else running, and read the record.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import numpy as np
from long_run import CKD_RUN, Counts, Footprint, command_line
from mjpeg_camera import ScriptedCamera, head, part

from ckd.data.synthetic import Hand, dermoscopy, pan

FPS, HEIGHT, WIDTH = 30.0, 1080, 1920
NUM_PICTURES = 45
PORT = 8097
#: Of each part the first seconds load networks and fill caches.
WARM_UP_S = 5.0


def nobody() -> AbstractContextManager[None]:
    """Nobody looks."""
    return nullcontext()


def rate(minutes: float, folder: Path) -> Counts:
    """Run for so many minutes in all."""
    seconds, found = 60 * minutes / len(WATCHERS), {}
    with sender() as url:
        for viewer in WATCHERS:
            found[viewer] = answers(url, viewer, seconds, folder)
            print(viewer, found[viewer], file=sys.stderr)
    return {"frames_per_s": FPS, "size": [WIDTH, HEIGHT], **found}


def answers(url: str, viewer: str, seconds: float, folder: Path) -> Counts:
    """Answers a second, their age and the memory, after the warm-up."""
    view = ["--view", "none"] if viewer == "none" else ["--view", "web", "--port", str(PORT)]
    command = [*CKD_RUN, "camera", url, *view, "--json", "--duration", str(seconds)]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    footprint = Footprint(process.pid)
    arrived_s, ages_ms, inference_ms, began_s = [], [], [], None
    with WATCHERS[viewer]():
        for line in process.stdout:
            now_s, record = time.time(), json.loads(line)
            began_s = began_s or now_s
            if now_s - began_s < WARM_UP_S:
                continue
            age_s = now_s - datetime.fromisoformat(record["captured"]).timestamp()
            arrived_s.append(now_s)
            ages_ms.append(1e3 * age_s)
            inference_ms.append(record["timings_ms"]["total"])
            footprint.sample()
        process.wait()
    assert process.returncode == 0
    beyond_ms = np.array(ages_ms) - np.array(inference_ms)
    quarter = len(footprint.samples) // 4
    memory = [sample[1] for sample in footprint.samples]
    return {
        "answers": len(arrived_s),
        "answers_per_s": round(len(arrived_s) / (arrived_s[-1] - arrived_s[0]), 1),
        "age_ms": percentiles(np.array(ages_ms)),
        "inference_ms": percentiles(np.array(inference_ms)),
        "age_beyond_inference_ms": percentiles(beyond_ms),
        "memory_mib": {
            "second_quarter": round(float(np.median(memory[quarter : 2 * quarter])), 1),
            "last_quarter": round(float(np.median(memory[-quarter:])), 1),
        },
    }


def percentiles(values: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 99)}


@contextmanager
def reader() -> Iterator[None]:
    """Reads stream and state of the page as it does itself, and draws nothing."""
    stop = threading.Event()

    def read_stream() -> None:
        while not stop.is_set():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/stream.mjpg") as stream:
                    while not stop.is_set() and stream.read(1 << 16):
                        pass
            except OSError:
                stop.wait(0.2)  # the program is not there yet, or no longer

    def read_state() -> None:
        while not stop.wait(0.25):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/state.json").read()
            except OSError:
                continue

    threads = [threading.Thread(target=work) for work in (read_stream, read_state)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@contextmanager
def browser() -> Iterator[None]:
    """Chromium, which shows the page on the same cores."""
    with tempfile.TemporaryDirectory() as profile:
        # Its page fails to load until the program listens, so it is begun a moment later.
        script = (
            "sleep 3; exec chromium --headless=new --no-sandbox --disable-gpu "
            f"--user-data-dir={profile} --window-size=1600,1000 --remote-debugging-port=0 "
            f"http://127.0.0.1:{PORT}/"
        )
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait()


@contextmanager
def sender() -> Iterator[str]:
    """The address of a camera that another process plays."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--send"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


def send() -> None:
    """Play the camera until the process is ended: print its address, and send to who connects."""
    scene = dermoscopy(2, 540)
    frames = pan(
        scene.image_HWC, scene.mask_HW, np.random.default_rng(0), NUM_PICTURES, 540,
        Hand(shift=0.02, zoom=0.02, turn_deg=2, noise=2),
    )  # fmt: skip
    jpegs = []
    for frame_HWC, _ in frames:
        wide = cv2.resize(frame_HWC, (HEIGHT, HEIGHT), interpolation=cv2.INTER_CUBIC)
        side = (WIDTH - HEIGHT) // 2
        shown = cv2.copyMakeBorder(wide, 0, 0, side, side, cv2.BORDER_REFLECT)
        jpegs.append(cv2.imencode(".jpg", shown[..., ::-1])[1].tobytes())
    parts = [part(jpeg) for jpeg in jpegs + jpegs[::-1]]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "multipart/x-mixed-replace; boundary=cut")
        started_s, number = time.monotonic(), 0
        while True:
            time.sleep(max(0.0, started_s + number / FPS - time.monotonic()))
            handler.wfile.write(parts[number % len(parts)])
            number += 1

    with ScriptedCamera(answer) as camera:
        print(camera.url, flush=True)
        threading.Event().wait()


WATCHERS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "none": nobody, "page": reader, "browser": browser,
}  # fmt: skip


if __name__ == "__main__":
    if "--send" in sys.argv:
        send()
    else:
        command_line(rate)

"""Load: many readers of one live view at once, and folders of images analysed beside it.

Browsers' streams, polled states, the save button and `ckd-run image` run together: every answer is
right and in order, every save is on disk, and every image gives the same answer every time.
"""

import itertools
import json
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import cv2
import numpy as np
from long_run import BUNDLE, CKD_RUN, Counts, Footprint, command_line
from mjpeg_camera import HEIGHT, WIDTH, MjpegCamera

from ckd.data.synthetic.write import dermoscopy

MAX_GROWTH_MIB = 32.0
NUM_STREAMS, NUM_POLLERS, NUM_SAVERS, NUM_ANALYSERS = 4, 6, 2, 2  # a view serves four streams
NUM_IMAGES = 24
#: The page sends it with every POST.
HEADERS = {"X-CKD-View": "1"}


class Clients:
    """Threads that each repeat one request until the end, and what they counted."""

    def __init__(self, end_s: float) -> None:
        self.end_s = end_s
        self.counts: Counter[str] = Counter()
        self.failures: list[BaseException] = []
        self._counting = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, number: int, client: "Callable[[Clients], None]") -> None:
        """Start so many threads of one kind."""
        for _ in range(number):
            thread = threading.Thread(target=self._guarded, args=(client,))
            thread.start()
            self._threads.append(thread)

    def count(self, what: str, number: int = 1) -> None:
        """Count right answers, from any thread."""
        with self._counting:
            self.counts[what] += number

    @property
    def ongoing(self) -> bool:
        """True until the time is over or a client has failed."""
        return time.monotonic() < self.end_s and not self.failures

    def join(self) -> None:
        """Wait for all; raises what the first failed one raised."""
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def _guarded(self, client: "Callable[[Clients], None]") -> None:
        try:
            client(self)
        except BaseException as error:
            self.failures.append(error)


@contextmanager
def connected(port: int) -> Iterator[HTTPConnection]:
    """A connection to the live view, closed at the end."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def load(minutes: float, folder: Path) -> Counts:
    """Run for so many minutes; AssertionError if an answer is wrong, out of order or lost."""
    images = folder / "images"
    images.mkdir()
    for seed in range(NUM_IMAGES):
        image_bgr = np.ascontiguousarray(dermoscopy(seed=seed, side_px=96).image_HWC[..., ::-1])
        assert cv2.imwrite(str(images / f"image_{seed:02d}.png"), image_bgr)
    saved = folder / "saved"
    camera = MjpegCamera(fps=30.0)
    command = [*CKD_RUN, "camera", camera.url, "--port", "0", "--threads", "1"]
    command += ["--bundle", str(BUNDLE), "--out", str(saved)]
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    footprint = Footprint(process.pid)
    try:
        assert process.stderr is not None
        address = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stderr.readline())
        assert address is not None
        port = int(address[1])
        _wait_for_a_result(port)
        clients = Clients(time.monotonic() + 60 * minutes)
        clients.start(NUM_STREAMS, lambda clients: watch(clients, port))
        clients.start(NUM_POLLERS, lambda clients: poll(clients, port))
        clients.start(NUM_SAVERS, lambda clients: save(clients, port, saved))
        number = itertools.count()
        clients.start(NUM_ANALYSERS, lambda clients: analyse(clients, images, next(number)))
        while clients.ongoing:
            footprint.sample()
            time.sleep(0.2)
        clients.join()
        process.terminate()
        messages = process.stderr.read()
        assert process.wait(timeout=60) == 0, messages
        assert "interrupted: " in messages, messages
    finally:
        process.kill()
        process.communicate()
        camera.switch_off()
    counts = dict(clients.counts)
    assert set(counts) == {"pictures", "states", "saved", "images"}, counts
    assert len(list(saved.glob("*_overlay.png"))) == counts["saved"]
    return {"answers": counts, **footprint.check(MAX_GROWTH_MIB, spare=4 * NUM_SAVERS)}


def watch(clients: Clients, port: int) -> None:
    """A browser's stream: every picture is whole, of its size and of its colours."""
    boundary = b"\r\n--ckd-frame\r\nContent-Type: image/jpeg\r\n\r\n"
    buffer = b""
    with connected(port) as connection:
        connection.request("GET", "/stream.mjpg")
        with connection.getresponse() as response:
            assert response.status == 200, response.read()
            while clients.ongoing:
                chunk = response.read1(1 << 16)
                assert chunk, "the stream ended"
                buffer += chunk
                *pictures, buffer = buffer.split(boundary)
                for jpeg in filter(None, pictures):
                    check_picture(jpeg)
                    clients.count("pictures")


def check_picture(jpeg: bytes) -> None:
    """The camera's right half is red, whatever is drawn over it."""
    image_bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image_bgr is not None
    assert image_bgr.shape == (HEIGHT, WIDTH, 3)
    right_bgr = np.median(image_bgr[:, WIDTH // 2 + 8 :], axis=(0, 1))
    assert np.abs(right_bgr - (0, 0, 220)).max() < 16, right_bgr


def poll(clients: Clients, port: int) -> None:
    """A page that asks for the state: counts never go back, and probabilities sum to 1."""
    before = (0, 0)
    with connected(port) as connection:
        while clients.ongoing:
            connection.request("GET", "/state.json")
            state = json.loads(connection.getresponse().read())
            assert state["state"] in ("live", "no signal"), state  # silent on a busy machine
            assert abs(sum(state["result"]["raw"]["probabilities"].values()) - 1) < 1e-3, state
            counts = (state["analysed"], state["dropped"])
            assert counts[0] >= before[0], (before, counts)
            assert counts[1] >= before[1], (before, counts)
            before = counts
            clients.count("states")
            time.sleep(0.02)


def save(clients: Clients, port: int, folder: Path) -> None:
    """The save button: the files that the answer names are on the disk, and whole."""
    while clients.ongoing:
        with connected(port) as connection:
            connection.request("POST", "/save", headers=HEADERS)
            overlay = folder / json.loads(connection.getresponse().read())["saved"]
        stem = overlay.name.removesuffix("_overlay.png")
        for name in (f"{stem}.png", f"{stem}_mask.png", overlay.name):
            image = cv2.imread(str(folder / name))
            assert image is not None, name
            assert image.shape == (HEIGHT, WIDTH, 3)
        assert json.loads((folder / f"{stem}.json").read_text())["image"] == f"{stem}.png"
        clients.count("saved")
        time.sleep(0.5)


def analyse(clients: Clients, images: Path, number: int) -> None:
    """`ckd-run image` on a folder: every image once, in order, with the same answer each time."""
    first: list[object] = []
    names = sorted(path.name for path in images.iterdir())
    out = images.parent / f"out{number}"
    command = [*CKD_RUN, "image", str(images), "--bundle", str(BUNDLE), "--threads", "1"]
    while clients.ongoing:
        done = subprocess.run(
            [*command, "--json", "--out", str(out)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [Path(answer["image"]).name for answer in answers] == names
        for answer in answers:
            del answer["timings_ms"]
        first = first or answers
        assert answers == first
        clients.count("images", len(answers))


def _wait_for_a_result(port: int) -> None:
    """Wait until the view shows a frame."""
    end_s = time.monotonic() + 60
    while True:
        with connected(port) as connection:
            connection.request("GET", "/state.json")
            if json.loads(connection.getresponse().read())["result"] is not None:
                return
        assert time.monotonic() < end_s, "no frame within a minute"
        time.sleep(0.1)


if __name__ == "__main__":
    command_line(load)

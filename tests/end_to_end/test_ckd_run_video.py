"""`ckd-run video` and `ckd-run camera` as a user meets them: real files, and Ctrl-C.

Suffixes: H rows, W columns, C channels in RGB order.
"""

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from films import num_frames
from tests.end_to_end.ckd_run import (
    COMMAND,
    GOOD_IMAGES,
    KEYS,
    LABELS,
    ckd_run,
    environment,
    hears_ctrl_c,
    photo,
    refused,
    rows,
)

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")


def write_video(path: Path, num_frames: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (90, 60))
    for index in range(num_frames):
        shifted = np.roll(photo(), 3 * index, axis=1)
        writer.write(np.ascontiguousarray(shifted[..., ::-1]))
    writer.release()
    return path


def test_a_video_gives_an_overlay_of_as_many_frames(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 7)
    run = ckd_run(tmp_path, "video", "clip.avi", "--bundle", tiny_bundle, "--out", "out", "--json")
    assert (run.code, run.errors) == (0, [])
    assert num_frames(tmp_path / "out" / "clip_overlay.mkv") == 7
    table = rows(tmp_path / "out" / "predictions.csv")
    assert [row["image"] for row in table] == [f"clip_{index:06d}" for index in range(7)]
    assert list(table[0]) == ["image", *LABELS]
    assert [record["image"] for record in run.records] == [f"clip.avi#{n}" for n in range(7)]
    assert all(set(record) >= KEYS - {"mask"} for record in run.records)
    assert "7 frames" in run.err
    times_s = [row["time_s"] for row in rows(tmp_path / "out" / "findings.csv")]
    assert times_s == ["0.000", "0.100", "0.200", "0.300", "0.400", "0.500", "0.600"]
    # Again over the old results, and not to the end.
    run = ckd_run(
        tmp_path, "video", "clip.avi", "--bundle", tiny_bundle, "--out", "out", "--max-frames", "3"
    )
    assert (run.code, run.out) == (0, "")
    assert num_frames(tmp_path / "out" / "clip_overlay.mkv") == 3
    assert len(rows(tmp_path / "out" / "predictions.csv")) == 3


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.mp4", "gone.mp4: no such file"),
        ("words.mp4", "not a video that OpenCV can read"),
        ("still.png", "is an image, expected a video; use `ckd-run image`"),
    ],
)
def test_what_is_no_video_is_one_line_and_code_6(
    tiny_bundle: Path, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "words.mp4").write_text("words")
    GOOD_IMAGES["colour.png"](tmp_path / "still.png")
    refused(ckd_run(tmp_path, "video", name, "--bundle", tiny_bundle), 6, message)


def test_an_overlay_that_was_cut_off_does_not_pass_for_a_whole_one(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    clip = write_video(tmp_path / "clip.avi", 30)
    start = ("video", "clip.avi", "--bundle", tiny_bundle, "--out", "out")
    overlay, part = tmp_path / "out/clip_overlay.mkv", tmp_path / "out/clip_overlay.part.mkv"
    assert ckd_run(tmp_path, *start, "--max-frames", "3").code == 0
    assert (overlay.exists(), part.exists()) == (True, False)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    run = ckd_run(tmp_path, *start)
    assert (run.code, len(run.errors)) == (6, 1)
    assert "the overlay up to here is in out/clip_overlay.part.mkv" in run.err
    assert not overlay.exists()  # nor the one of before
    assert 0 < num_frames(part) == len(rows(tmp_path / "out" / "predictions.csv")) < 30


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_video_keeps_the_part_that_is_done(
    tiny_bundle: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    write_video(tmp_path / "clip.avi", 3000)
    process = subprocess.Popen(
        [COMMAND, "video", "clip.avi", "--json", "--bundle", tiny_bundle],
        cwd=tmp_path, env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(10):
        process.stdout.readline()
    process.send_signal(sent)
    _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in err, err
    part = Path("runs/video/clip_overlay.part.mkv")
    last_lines = [f"not finished: the overlay up to here is in {part}", "interrupted"]
    assert err.splitlines()[-2:] == last_lines
    assert 9 <= num_frames(tmp_path / part) < 3000
    assert not (tmp_path / "runs/video/clip_overlay.mkv").exists()


def test_a_recording_is_watched_like_a_camera(tiny_bundle: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.avi", 20)
    start = ("camera", "clip.avi", "--view", "none", "--bundle", tiny_bundle)
    run = ckd_run(tmp_path, *start, "--max-frames", "3", "--json", "--record", "seen.mkv")
    assert (run.code, run.errors, len(run.records)) == (0, [], 3)
    assert all(set(record) >= KEYS - {"mask"} for record in run.records)
    assert run.err.splitlines()[-1].startswith("max frames: 3 frames analysed, ")
    assert num_frames(tmp_path / "seen.mkv") >= 3
    refused(ckd_run(tmp_path, *start, "--record", "seen.mkv"), 2, "seen.mkv: exists already")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_an_unreachable_camera_is_one_line_and_code_6(tiny_bundle: Path, tmp_path: Path) -> None:
    url = f"http://me:secret@127.0.0.1:{free_port()}/video"
    run = ckd_run(tmp_path, "camera", "--view", "none", "--bundle", tiny_bundle, CKD_SOURCE=url)
    refused(run, 6, "no video stream")
    assert "secret" not in run.err
    run = ckd_run(tmp_path, "camera", "/dev/video97", "--view", "none", "--bundle", tiny_bundle)
    refused(run, 6, "/dev/video97")


@contextmanager
def mjpeg_camera() -> Iterator[str]:
    """A network camera on the loopback address; gives its URL."""
    jpeg = cv2.imencode(".jpg", np.ascontiguousarray(photo()[..., ::-1]))[1].tobytes()
    head = f"--cut\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    stop = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
            self.end_headers()
            try:
                while not stop.wait(0.02):
                    self.wfile.write(head + jpeg + b"\r\n")
            except OSError:
                return  # the client has closed

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://me:secret@127.0.0.1:{server.server_port}/video"
        finally:
            stop.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_live_camera_cleanly(
    tiny_bundle: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    with mjpeg_camera() as url:
        process = subprocess.Popen(
            [COMMAND, "camera", url, "--view", "none", "--json", "--record", "seen.mkv",
             "--bundle", tiny_bundle],
            cwd=tmp_path, env=environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c,
        )  # fmt: skip
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())  # it is live now
        time.sleep(0.3)
        process.send_signal(sent)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "Traceback" not in err, err
    assert err.splitlines()[-1].startswith("interrupted: ")
    assert "frames analysed" in err
    assert set(first) >= KEYS - {"mask"}
    assert "secret" not in json.dumps(first) + out + err
    assert num_frames(tmp_path / "seen.mkv") > 0
    assert not list(tmp_path.glob("*.part*"))

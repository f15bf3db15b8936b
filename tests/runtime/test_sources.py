"""Sources, on real files and a real MJPEG camera on the loopback address."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mjpeg_camera import HEIGHT, STEP, WIDTH, MjpegCamera, numbered
from numpy.typing import NDArray

from ckd.contract.errors import CkdError, EnvironmentUnusable, SourceUnavailable, UsageError
from ckd.runtime.sources import (
    CameraFormat,
    Frame,
    FrameSource,
    LatestFrame,
    Reconnect,
    SourceState,
    VideoFile,
    open_source,
)
from ckd.runtime.sources import gstreamer as gstreamer_module
from ckd.runtime.sources.faults import Grabbed
from ckd.runtime.sources.opencv import build_feature

QUICK = Reconnect(max_attempts=3, first_delay_s=0.05, max_delay_s=0.1)


def number_of(frame: Frame) -> int:
    return round(float(frame.image_HWC[:, : WIDTH // 2 - 8, 1].mean()) / STEP)


def write_video(path: Path, num_frames: int, fps: float = 25.0, codec: str = "MJPG") -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for index in range(num_frames):
        writer.write(numbered(index))
    writer.release()
    return path


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


def wait_for(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def camera() -> Iterator[MjpegCamera]:
    camera = MjpegCamera()
    yield camera
    if camera.on.is_set():
        camera.switch_off()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    wait_for(lambda: set(threading.enumerate()) <= before)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_a_file_gives_every_frame_in_order_as_rgb(tmp_path: Path, name: str, codec: str) -> None:
    with open_source(str(write_video(tmp_path / name, 30, codec=codec))) as video:
        assert isinstance(video, VideoFile)
        assert (video.num_frames, video.fps, video.size_hw) == (30, 25.0, (HEIGHT, WIDTH))
        frames = list(video)
        assert video.state == "ended"
        assert video.get() is None
    assert [frame.index for frame in frames] == list(range(30))
    assert [number_of(frame) for frame in frames] == list(range(30))
    red = frames[0].image_HWC[HEIGHT // 2, -10].astype(int)
    np.testing.assert_allclose(red, [220, 0, 0], atol=8)  # lossy compression moves colours a little
    assert video.dropped == 0
    assert frames[0].captured_s <= frames[-1].captured_s <= time.monotonic()


def _no_video(path: Path) -> None:
    path.with_suffix(".txt").write_text("not here")


def _text(path: Path) -> None:
    path.write_text("a shopping list\n" * 200)


def _truncated(path: Path) -> None:
    cut(write_video(path, 30, codec="mp4v"), 0.5)


def _no_frames(path: Path) -> None:
    write_video(path.with_suffix(".avi"), 1)
    cut(path.with_suffix(".avi"), 0.4).rename(path)  # the header alone


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (_no_video, "no such file"),
        (Path.mkdir, "is a folder"),
        (Path.touch, "the file is empty"),
        (os.mkfifo, "is a pipe or device, expected a video file"),
        (_text, "not a video"),
        (_truncated, "cut off"),
        (_no_frames, "no frame|not a video"),
    ],
)
@pytest.mark.parametrize("live", [False, True])
def test_a_file_that_is_no_video_is_refused_by_name(
    tmp_path: Path, make: Callable[[Path], None], complaint: str, live: bool
) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(SourceUnavailable, match=rf"clip\.mp4: .*({complaint})") as caught:
        open_source(str(path), live=live)
    assert caught.value.exit_code == 6


def test_an_image_is_not_taken_for_a_video_of_one_frame(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "img_1.jpg"), numbered(1))
    with pytest.raises(SourceUnavailable, match="ckd-run image"):
        open_source(str(tmp_path / "img_1.jpg"))
    for name, ending in (("clip.mp4", ".png"), ("clip.avi", ".jpg")):  # its content decides
        picture = cv2.imencode(ending, numbered(1))[1].tobytes()
        (tmp_path / name).write_bytes(picture)
        with pytest.raises(SourceUnavailable, match=rf"{name}: is an image, expected a video"):
            open_source(str(tmp_path / name))
    (tmp_path / "clip.mjpeg").write_bytes(picture * 3)
    with VideoFile(tmp_path / "clip.mjpeg") as source:
        assert next(iter(source)).image_HWC.shape == numbered(1).shape


@pytest.mark.parametrize("live", [False, True])
def test_a_video_cut_off_in_the_middle_gives_its_frames_and_then_says_so(
    tmp_path: Path, live: bool
) -> None:
    path = cut(write_video(tmp_path / "clip.avi", 30, fps=60.0), 0.5)
    frames: list[Frame] = []
    with open_source(str(path), live=live) as video:
        with pytest.raises(SourceUnavailable, match=r"ends after \d+ of 30 frames"):
            frames.extend(video)
        assert video.state == "failed"
    assert frames


class VariableRate:
    """A recording as OpenCV 5 gives it: of 116 announced frames 40 are there, the last at 11.5 s.

    After the end it says 0 s.
    """

    def __init__(self) -> None:
        self.left = 40

    def get(self, asked: int) -> float:
        known = {cv2.CAP_PROP_FPS: 10.0, cv2.CAP_PROP_FRAME_COUNT: 116.0}
        at_ms = 0.0 if self.left < 0 else 11500 - 300.0 * self.left
        return known.get(asked, at_ms)

    def grab(self) -> bool:
        self.left -= 1
        return self.left >= 0

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        return True, np.zeros((16, 16, 3), np.uint8)

    def release(self) -> None: ...


def test_a_variable_rate_is_not_taken_for_a_file_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.mkv"
    path.write_bytes(b"any")
    monkeypatch.setattr("ckd.runtime.sources.video.open_capture", lambda target: VariableRate())
    with VideoFile(path) as source:
        assert len(list(source)) == 40
    case = Path(__file__).resolve().parents[3] / "shared/cases/variable_rate.mkv"
    if case.is_file():
        monkeypatch.undo()
        with VideoFile(case) as source:
            assert len(list(source)) == 40


def test_a_file_played_live_keeps_its_pace_drops_and_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 20, fps=50.0)
    numbers = []
    with open_source(str(path), live=True) as source:
        started_s = time.monotonic()
        for frame in source:
            numbers.append(number_of(frame))
            time.sleep(0.06)
        took_s = time.monotonic() - started_s
        assert (source.state, source.fps) == ("ended", 50.0)
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 19
    assert len(numbers) + source.dropped == 20
    assert source.dropped > 0
    assert took_s > 0.3  # 19 intervals of 20 ms, less what passed before the clock was read


def test_a_slow_consumer_gets_the_newest_frame_and_the_rest_is_counted(
    camera: MjpegCamera,
) -> None:
    with open_source(camera.url) as source:
        indices, ages_s = [], []
        for _ in range(6):
            frame = source.get(2.0)
            assert frame is not None
            indices.append(frame.index)
            ages_s.append(time.monotonic() - frame.captured_s)
            time.sleep(0.1)
        assert source.state == "live"
        assert indices == sorted(set(indices))
        assert source.dropped >= indices[-1] + 1 - len(indices) > 0
        # Six frames in 0.6 s of a 60 Hz camera: a queue would soon be half a second behind.
        assert sorted(ages_s)[3] < 0.25


def test_a_frame_is_given_once(camera: MjpegCamera) -> None:
    with open_source(camera.url, read_timeout_s=0.5) as source:
        assert source.get(2.0) is not None
        camera.sending.clear()
        while source.get(0.1) is not None:
            pass
        assert source.get(0.0) is None
        assert source.state == "live"


def test_a_camera_that_dies_and_comes_back_is_found_again(camera: MjpegCamera) -> None:
    with open_source(camera.url, reconnect=Reconnect(first_delay_s=0.05, factor=1)) as source:
        assert source.get(2.0) is not None
        camera.switch_off()
        wait_for(lambda: source.state == "no signal")
        wait_for(lambda: " of 10 to reconnect" in source.detail)
        while source.get(0.05) is not None:
            pass
        camera.switch_on()
        assert source.get(3.0) is not None
        assert (source.state, source.detail) == ("live", "")


def test_a_camera_that_stays_away_is_given_up(camera: MjpegCamera) -> None:
    with open_source(camera.url, reconnect=QUICK) as source:
        assert source.get(2.0) is not None
        camera.switch_off()
        with pytest.raises(SourceUnavailable, match="gave up after 3 attempts") as caught:
            deque(source, maxlen=0)
        assert source.state == "failed"
        assert camera.url in str(caught.value)
        with pytest.raises(SourceUnavailable):  # and it stays so
            source.get()


def test_a_camera_that_freezes_is_noticed(
    camera: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ckd.runtime.sources.latest.SILENT_AFTER_S", 0.1)
    with open_source(camera.url, reconnect=QUICK, read_timeout_s=1.0) as source:
        assert source.get(2.0) is not None
        camera.sending.clear()
        # Before the read has timed out, and after.
        wait_for(lambda: source.state == "no signal" and "no picture for" in source.detail)
        wait_for(lambda: "reconnect" in source.detail)


def test_a_camera_that_is_switched_on_later_can_be_waited_for(camera: MjpegCamera) -> None:
    camera.switch_off()
    patient = Reconnect(first_delay_s=0.05, factor=1, at_start=True)
    with open_source(camera.url, reconnect=patient) as source:
        wait_for(lambda: "attempt" in source.detail)
        assert source.state == "connecting"
        camera.switch_on()
        assert source.get(3.0) is not None


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
@pytest.mark.parametrize("listens", [False, True], ids=["closed port", "silent host"])
def test_an_unreachable_camera_fails_within_its_time_limit(scheme: str, listens: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        started_s = time.monotonic()
        url = f"{scheme}://user:secret@127.0.0.1:{port}/stream"
        with open_source(url, open_timeout_s=0.3) as source:
            with pytest.raises(SourceUnavailable, match=r"no video stream within 0\.3 s") as caught:
                source.get(5.0)
            assert source.state == "failed"
        assert time.monotonic() - started_s < 2.0
    told = f"{caught.value} {source.name} {source.detail}"
    assert "secret" not in told
    assert f"127.0.0.1:{port}/stream" in told


def test_nothing_but_our_own_words_reaches_stderr(tmp_path: Path) -> None:
    _text(tmp_path / "clip.mp4")
    code = (
        "import sys\n"
        "from ckd.runtime.sources import open_source\n"
        "from ckd.contract.errors import SourceUnavailable\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        with open_source(name, open_timeout_s=0.3) as source:\n"
        "            source.get(3)\n"
        "        sys.exit(f'{name} was opened')\n"
        "    except SourceUnavailable:\n"
        "        pass\n"
    )
    bad = [str(tmp_path / "clip.mp4"), "http://127.0.0.1:9/x", "rtsp://127.0.0.1:9/x", "97"]
    done = subprocess.run(
        [sys.executable, "-c", code, *bad],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="device files are Linux's")
@pytest.mark.parametrize("source", ["97", "/dev/video97"])
def test_a_camera_that_is_not_there_is_known_at_once(source: str) -> None:
    with pytest.raises(SourceUnavailable, match=r"/dev/video97: no such camera .*connected: "):
        open_source(source)


@pytest.mark.parametrize(
    ("source", "error", "complaint"),
    [
        ("", UsageError, "empty"),
        ("ftp://host/clip", UsageError, "not a source"),
        ("http://", UsageError, "no host"),
        ("rtsp://[::1/x", UsageError, "no host"),
        ("csi://front", UsageError, "csi://N"),
        ("camera one", SourceUnavailable, "no such file; expected a camera index"),
        ("anna:secret@cam/v", SourceUnavailable, "^the source: no such file"),
        ("http:/cam/v?pwd=secret", SourceUnavailable, "^the source: no such file"),
    ],
)
def test_what_is_not_a_source_is_said_with_what_is(
    source: str, error: type[CkdError], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        open_source(source)


def test_a_frame_size_is_not_asked_of_a_stream() -> None:
    with pytest.raises(UsageError, match="for cameras only"):
        open_source("http://127.0.0.1/x", camera=CameraFormat(width_px=640, height_px=480))


@pytest.mark.skipif(build_feature("GStreamer") is not None, reason="this OpenCV has GStreamer")
def test_a_csi_camera_without_gstreamer_names_the_remedy() -> None:
    with pytest.raises(EnvironmentUnusable, match=r"without GStreamer.*JetPack") as caught:
        open_source("csi://0")
    assert caught.value.exit_code == 3


@pytest.mark.skipif(build_feature("GStreamer") is not None, reason="this OpenCV has GStreamer")
def test_a_csi_camera_that_does_not_open_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gstreamer_module, "build_feature", lambda name: "YES")
    with (
        open_source("csi://1") as source,
        pytest.raises(SourceUnavailable, match=r"csi://1: .*nvargus-daemon"),
    ):
        source.get(3.0)


def test_the_csi_pipeline_keeps_one_frame() -> None:
    pipeline = gstreamer_module.gstreamer_pipeline(1, CameraFormat(fps=60))
    assert "nvarguscamerasrc sensor-id=1 " in pipeline
    assert "width=1920,height=1080,framerate=60/1" in pipeline
    assert pipeline.endswith("appsink drop=true max-buffers=1 sync=false")


def test_closing_while_waiting_to_reconnect_is_prompt(camera: MjpegCamera) -> None:
    source = open_source(camera.url, reconnect=Reconnect(first_delay_s=60, max_delay_s=60))
    assert source.get(2.0) is not None
    camera.switch_off()
    wait_for(lambda: source.state == "no signal")
    started_s = time.monotonic()
    source.close()
    source.close()
    assert time.monotonic() - started_s < 1.0
    ended: SourceState = "ended"
    assert source.state == ended


class _Broken:
    """A reader whose driver raises something of its own."""

    fps: float | None = 30.0
    finite = False

    def read(self) -> Grabbed | None:
        raise RuntimeError("driver bug 7")

    def close(self) -> None:
        pass


def test_a_bug_in_the_reader_thread_reaches_the_consumer() -> None:
    source: FrameSource
    with LatestFrame(_Broken, name="odd") as source:
        with pytest.raises(SourceUnavailable, match="driver bug 7") as caught:
            source.get(2.0)
        assert isinstance(caught.value.__cause__, RuntimeError)


def test_the_back_off_grows_to_its_limit() -> None:
    delays_s = [Reconnect().delay_s(attempt) for attempt in range(1, 7)]
    assert delays_s == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]

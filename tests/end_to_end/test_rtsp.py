"""Network cameras that speak RTSP: GStreamer's server on the loopback address."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from services import service_missing
from tests.end_to_end.ckd_run import ckd_run

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources import FrameSource, Reconnect, open_source

pytestmark = pytest.mark.system

SERVER = Path(__file__).parents[1] / "support" / "rtsp_server.py"
PYTHON = "/usr/bin/python3"
IMPORTS = "import gi; gi.require_version('GstRtspServer', '1.0')"
QUICK = Reconnect(max_attempts=20, first_delay_s=0.2, max_delay_s=0.5)


class RtspCamera:
    """A camera that can be frozen, switched off and switched on again on the same port."""

    def __init__(self, *arguments: str) -> None:
        self._arguments, self.port = arguments, "0"
        self.switch_on()

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/live"

    def switch_on(self) -> None:
        self._server = subprocess.Popen(
            [PYTHON, str(SERVER), self.port, *self._arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._server.stdout is not None
        self.port = self._server.stdout.readline().strip()
        assert self.port.isdecimal()

    def say(self, line: str) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()

    def switch_off(self) -> None:
        self._server.kill()
        self._server.communicate()


@contextmanager
def rtsp_camera(*arguments: str) -> Iterator[RtspCamera]:
    try:
        subprocess.run([PYTHON, "-c", IMPORTS], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        service_missing("needs gir1.2-gst-rtsp-server-1.0 and python3-gi of Debian")
    camera = RtspCamera(*arguments)
    try:
        yield camera
    finally:
        camera.switch_off()


def seconds_until(condition: Callable[[], bool], limit_s: float) -> float:
    started_s = time.monotonic()
    while not condition():
        assert time.monotonic() - started_s < limit_s, "did not happen in time"
        time.sleep(0.01)
    return time.monotonic() - started_s


def assert_live(source: FrameSource) -> None:
    frame = source.get(timeout_s=20)
    assert frame is not None
    assert frame.image_HWC.shape == (240, 320, 3)
    assert source.state == "live"


@pytest.mark.parametrize("encoder", ["h264", "mjpeg"])
def test_a_stream_is_watched_and_found_again(encoder: str) -> None:
    with rtsp_camera(encoder) as camera, open_source(camera.url, reconnect=QUICK) as source:
        for _ in range(5):
            assert_live(source)
        camera.switch_off()
        seconds_until(lambda: source.state == "no signal", 5)
        camera.switch_on()
        while source.get(timeout_s=0.1) is None:  # up to the limit of the attempts
            assert source.state in ("no signal", "live")
        assert_live(source)


def test_a_frozen_stream_is_no_signal_and_goes_on() -> None:
    with rtsp_camera("h264") as camera, open_source(camera.url, reconnect=QUICK) as source:
        assert_live(source)
        camera.say("freeze")
        seconds_until(lambda: source.state == "no signal", 5)
        camera.say("go on")
        seconds_until(lambda: source.state == "live", 10)
        assert_live(source)


def test_a_password_is_used_and_not_shown() -> None:
    with rtsp_camera("h264", "nurse", "s3cret") as camera:
        host = camera.url.removeprefix("rtsp://")
        with open_source(f"rtsp://nurse:s3cret@{host}") as source:
            assert "s3cret" not in source.name
            assert_live(source)
        with open_source(f"rtsp://nurse:wr0ng@{host}") as source:
            with pytest.raises(SourceUnavailable, match="user name and password") as refused:
                source.get(timeout_s=20)
            assert "wr0ng" not in str(refused.value)


def test_the_command_analyses_a_stream(tiny_bundle: Path, tmp_path: Path) -> None:
    with rtsp_camera("h264") as camera:
        run = ckd_run(
            tmp_path, "camera", camera.url, "--bundle", tiny_bundle, "--view", "none",
            "--max-frames", "5", "--json",
        )  # fmt: skip
    assert run.code == 0
    assert len(run.records) == 5

"""Cameras at fault, for longer than a quick test can: nothing wrong is given, and time is kept."""

import json
import random
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import cv2
import pytest
from mjpeg_camera import FAULTS, MjpegCamera, ScriptedCamera, head, jpeg_of, numbered, part
from services import needs_program

from ckd.contract.errors import SourceUnavailable
from ckd.runtime.sources import FrameSource, open_source

pytestmark = pytest.mark.system
STREAM = "multipart/x-mixed-replace; boundary=cut"
NUM_FRAMES = 1500


def wait_for_state(source: FrameSource, state: str, timeout_s: float) -> float:
    """Seconds until the source has the state, while frames are taken as the loop does."""
    started_s = time.monotonic()
    while source.state != state:
        assert time.monotonic() - started_s < timeout_s, (source.state, source.detail)
        source.get(0.02)
    return time.monotonic() - started_s


def test_of_many_faults_none_is_given() -> None:
    """Half of the frames are at fault; the wire carries lengths for half of the parts."""
    rng = random.Random(18)
    frames = [jpeg_of(number) for number in range(24)]
    kinds: Counter[str] = Counter()
    parts: list[bytes] = []
    num_whole = 0
    for number in range(NUM_FRAMES):
        jpeg, older = frames[number % 24], frames[(number + 11) % 24]
        if rng.random() < 0.5:
            fault = rng.choice(FAULTS)
            kinds[fault.__name__] += 1
            jpeg = fault(jpeg, older, rng)
        else:
            num_whole += 1
        lines = [("Content-Type: image/jpeg",), ()][rng.randrange(2)]
        parts.append(part(jpeg, "cut", *lines))
    turn = threading.Semaphore(1)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        for one in parts:
            handler.wfile.write(one)
            time.sleep(0.001)
        handler.wfile.write(b"--cut--\r\n")
        turn.release()
        handler.connection.recv(1)

    given: list[bytes | None] = []
    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        while len(given) + source.dropped < num_whole:
            frame = source.get(5.0)
            assert frame is not None, (source.state, source.detail, len(given), source.dropped)
            given.append(frame.jpeg)
        faults = dict(source.faults)
    assert set(given) <= set(frames)
    assert faults["damaged"] == sum(kinds.values()), kinds
    assert len(kinds) == len(FAULTS)


def test_most_flips_of_one_bit_cannot_be_seen_and_those_in_the_header_mostly_can() -> None:
    """The docs state the share; this is where it comes from."""
    rng = random.Random(3)
    jpeg = jpeg_of(20)
    data = jpeg.index(b"\xff\xda")
    shares = {}
    for where, places in {"header": range(2, data), "data": range(data, len(jpeg))}.items():
        flips = bytearray(jpeg)
        parts = []
        for _ in range(400):
            flips[:] = jpeg
            flips[rng.choice(places)] ^= 1 << rng.randrange(8)
            parts.append(bytes(flips))
        shares[where] = sum(map(_decodes, parts)) / len(parts)
    print(json.dumps(shares))
    assert shares["header"] < shares["data"]


def _decodes(content: bytes) -> bool:
    from ckd.runtime.sources.faults import FrameFault
    from ckd.runtime.sources.whole import decode_whole

    try:
        decode_whole(content, 0.0)
    except FrameFault:
        return False
    return True


@pytest.mark.parametrize("how", ["silent", "off"])
def test_a_stall_is_noticed_within_a_second_and_a_half_and_a_return_within_three(how: str) -> None:
    camera = MjpegCamera(fps=30)
    with open_source(camera.url) as source:
        for away_s in (2.0, 4.5, 7.0):
            assert source.get(5.0) is not None
            wait_for_state(source, "live", 3.0)
            camera.sending.clear() if how == "silent" else camera.switch_off()
            assert wait_for_state(source, "no signal", 3.0) < 1.5
            time.sleep(away_s)
            camera.sending.set() if how == "silent" else camera.switch_on()
            assert wait_for_state(source, "live", 5.0) < 3.0
    camera.switch_off()


def test_a_camera_that_never_ends_a_part_takes_no_memory_and_is_gone_on_with() -> None:
    flood = bytes(2**20)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        handler.wfile.write(b"--cut\r\nContent-Type: image/jpeg\r\n\r\n")
        for _ in range(300):
            handler.wfile.write(flood)
        handler.wfile.write(b"\r\n" + part(jpeg_of(3)))
        handler.connection.recv(1)

    code = (
        "import json, resource, sys\n"
        "from ckd.runtime.sources import open_source\n"
        "with open_source(sys.argv[1]) as source:\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    frame = source.get(60)\n"
        "    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "    print(json.dumps([frame.size_hw, dict(source.faults), grown]))\n"
    )
    with ScriptedCamera(answer) as camera:
        done = subprocess.run(
            [sys.executable, "-c", code, camera.url],
            capture_output=True, text=True, timeout=90, check=True,
        )  # fmt: skip
    size_hw, faults, grown_kib = json.loads(done.stdout)
    assert size_hw == [96, 128]
    assert faults == {"refused": 1}
    assert grown_kib < 200 * 1024  # of 300 MiB; the limit is 64, and a buffer doubles as it grows


def test_other_video_over_http_is_read_by_ffmpeg(tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (128, 96))
    for index in range(50):
        writer.write(numbered(index))
    writer.release()
    video = path.read_bytes()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, "video/x-msvideo", len(video))
        handler.wfile.write(video)

    with ScriptedCamera(answer) as camera, open_source(camera.url) as source:
        frame = source.get(10.0)
        assert frame is not None
        assert (frame.size_hw, frame.jpeg) == ((96, 128), None)


def test_a_certificate_is_checked_and_a_cameras_own_can_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            needs_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            "-keyout", key, "-out", certificate, "-subj", "/CN=camera",
            "-addext", "subjectAltName=IP:127.0.0.1",
        ],
        check=True, capture_output=True,
    )  # fmt: skip

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        handler.wfile.write(part(jpeg_of(4)))
        handler.wfile.flush()
        camera.closing.wait(20)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ScriptedCamera(answer, context) as camera:
        url = camera.url.replace("http:", "https:")
        with (
            open_source(url) as source,
            pytest.raises(SourceUnavailable, match=r"not trusted.*SSL_CERT_FILE"),
        ):
            source.get(5.0)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with open_source(url) as source:
            frame = source.get(5.0)
            assert frame is not None
            assert frame.jpeg == jpeg_of(4)
            started_s = time.monotonic()  # closing ends a read that waits
        assert time.monotonic() - started_s < 1.0


def test_a_damaged_camera_is_analysed_where_it_is_whole(tiny_bundle: Path) -> None:
    """`ckd-run camera` from end to end: findings of whole frames, and the faults in its report."""
    rng = random.Random(5)
    whole = [jpeg_of(number) for number in range(12)]
    parts = []
    for number, jpeg in enumerate(whole):
        parts += [part(jpeg), part(FAULTS[number % len(FAULTS)](jpeg, whole[number - 5], rng))]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        head(handler, STREAM)
        frames = (part(jpeg_of(1, 8, 8)), *parts, part(jpeg_of(3, 192, 256)))
        for one in frames if len(camera.asked) == 1 else ():
            handler.wfile.write(one)
            time.sleep(0.15)
        camera.closing.wait(30)

    command = [sys.executable, "-m", "ckd.runtime.cli", "camera"]
    options = ["--view", "none", "--json", "--threads", "1", "--duration", "8"]
    with ScriptedCamera(answer) as camera:
        done = subprocess.run(
            [*command, camera.url, *options, "--bundle", str(tiny_bundle)],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    sizes = [json.loads(line)["size_hw"] for line in done.stdout.splitlines()]
    assert set(map(tuple, sizes)) <= {(96, 128), (192, 256)}
    assert sizes[-1] == [192, 256]
    assert "12 damaged, 1 refused for their size" in done.stderr
    assert "1 resized" in done.stderr

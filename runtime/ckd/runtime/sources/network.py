"""Network cameras: our own reader for pictures over HTTP, FFmpeg for everything else.

What the server answers decides, not the address: parts of a multipart stream and single pictures
are read here, so that only whole frames pass (`ckd.runtime.sources.whole`). Anything else, such as
H.264, is left to OpenCV's FFmpeg.
"""

import http.client
import time
from collections import deque
from urllib.parse import urlsplit

import cv2
from typing_extensions import override

from ckd.contract.errors import SourceUnavailable, UsageError
from ckd.picture import begins_as_picture
from ckd.runtime.sources.faults import FrameFault, Grabbed
from ckd.runtime.sources.http_client import HttpClient
from ckd.runtime.sources.multipart import MAX_PART_BYTES, MultipartParser, Part, SinglePicture
from ckd.runtime.sources.opencv import CaptureReader, FrameReader, discard_corrupt, open_capture
from ckd.runtime.sources.whole import FrameDecoder

#: Pause between two questions to a camera that gives one picture for each, and after one that
#: was the same as before.
POLL_S, POLL_SAME_S = 1 / 30, 0.2
#: For a connection, once there was one: a camera may be back at any time.
_RETRY_TIMEOUT_S = 2.0
_CHUNK_BYTES = 256 * 1024
_PICTURES = ("multipart/", "image/")
#: Types of answers that are no video, whatever FFmpeg would make of them. It would also ask anew:
#: if the camera sends pictures by then, it takes those that are not whole, too.
_NO_VIDEO = ("text/", "application/json", "application/xml")
#: Types of parts that are no picture, such as the descriptions that some cameras send in between.
_OTHER_KINDS = ("audio/", *_NO_VIDEO)
_PLAYLIST = b"#EXTM3U"  # of HLS, which some servers send as text


class NetworkOpener:
    """Opens a network camera, again after each loss.

    Args:
        url: rtsp, rtsps, http or https; may hold user name and password.
        name: of the address for messages, without the password.
        open_timeout_s: for opening.
        read_timeout_s: for which a stream may be silent before it counts as lost.

    Raises:
        UsageError: the address names no host.
    """

    def __init__(self, url: str, name: str, open_timeout_s: float, read_timeout_s: float) -> None:
        try:
            host, _ = urlsplit(url).hostname, urlsplit(url).port
        except ValueError:  # an unclosed bracket, or a port that is no number
            host = None
        if not host:
            raise UsageError(
                f"{name}: no host in the address; expected e.g. http://192.168.1.20/video, "
                "with / ? # @ of a password written as %2F %3F %23 %40"
            )
        self._url, self._name = url, name
        self._open_timeout_s, self._read_timeout_s = open_timeout_s, read_timeout_s
        self._client: HttpClient | None = None
        if urlsplit(url).scheme.lower() in ("http", "https"):
            self._client = HttpClient(url, name, open_timeout_s, read_timeout_s)

    def __call__(self) -> FrameReader:
        """Open it.

        Raises:
            SourceUnavailable: it is not reachable, or sends no video.
        """
        if self._client is None:
            return self._by_ffmpeg()
        answer = self._client.ask()
        self._client.connect_timeout_s = min(self._open_timeout_s, _RETRY_TIMEOUT_S)
        kind = _kind_of(answer)
        if kind.startswith(_PICTURES):
            return PictureReader(self._client, self._name, answer, self._read_timeout_s)
        self._client.close()
        if kind == "text/html":
            raise SourceUnavailable(
                f"{self._name}: answers with a web page and no video; "
                "expected the address of the stream itself, which the camera's manual gives"
            )
        if kind.startswith(_NO_VIDEO):
            raise SourceUnavailable(f"{self._name}: sends {kind[:40]}, no pictures and no video")
        self._client = None  # it is asked once only: the next attempt is FFmpeg's at once
        return self._by_ffmpeg()

    def interrupt(self) -> None:
        """End what is under way, so that closing need not wait for a camera that is silent."""
        if (client := self._client) is not None:  # the thread that opens may give it up
            client.interrupt()

    def _by_ffmpeg(self) -> FrameReader:
        parameters = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * self._open_timeout_s)]
        parameters += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * self._read_timeout_s)]
        discard_corrupt()
        capture = open_capture(self._url, cv2.CAP_FFMPEG, parameters)
        if capture is None:
            raise SourceUnavailable(
                f"{self._name}: no video stream within {self._open_timeout_s:g} s; check that the "
                "camera is on and reachable from here, and its address, user name and password"
            )
        return CaptureReader(capture)


class PictureReader(FrameReader):
    """Reads pictures from an answer of a camera, and asks it again when the answer has ended.

    A camera that gives one picture for each question is so polled. One whose answer ended without a
    picture is gone.
    """

    fps: float | None = None
    finite = False

    def __init__(
        self,
        client: HttpClient,
        name: str,
        answer: http.client.HTTPResponse,
        read_timeout_s: float,
    ) -> None:
        self._client, self._name, self._read_timeout_s = client, name, read_timeout_s
        self._answer: http.client.HTTPResponse | None = answer
        self._asked_s = time.monotonic()
        self._parser = _parser_for(_kind_of(answer), answer)
        self._parts: deque[Part] = deque()
        self._num_parts = 0  # of this answer
        self._decoder = FrameDecoder()
        self._last: Grabbed | None = None
        self._is_same = False

    @override
    def read(self) -> Grabbed | None:
        """The next picture; None if the camera has ended an answer without one.

        Raises:
            FrameFault: the picture did not arrive whole, or its size is impossible.
            SourceUnavailable: the camera is silent, or does not answer any more.
        """
        while not self._parts:
            try:
                if self._answer is None:
                    self._ask_again()
                if not self._receive() and self._num_parts == 0:
                    return None
            except TimeoutError:
                raise SourceUnavailable(
                    f"{self._name}: no picture for {self._read_timeout_s:g} s"
                ) from None
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise SourceUnavailable(f"{self._name}: the connection is lost ({error})") from None
        return self._decoded(self._parts.popleft())

    @override
    def close(self) -> None:
        self._client.close()

    def _receive(self) -> bool:
        """Wait for bytes; False at the end of an answer, whose last part is then complete."""
        assert self._answer is not None
        chunk = self._answer.read1(_CHUNK_BYTES)
        now_s = time.monotonic()
        parts = self._parser.feed(chunk, now_s) if chunk else self._parser.end()
        wanted = [part for part in parts if not _is_no_picture(part)]
        self._num_parts += len(wanted)
        self._parts.extend(wanted)
        if not chunk:
            self._answer.close()
            self._answer = None
        return bool(chunk)

    def _ask_again(self) -> None:
        pause_s = POLL_SAME_S if self._is_same else POLL_S
        time.sleep(max(0.0, self._asked_s + pause_s - time.monotonic()))
        self._asked_s = time.monotonic()
        answer = self._client.ask()
        if not (kind := _kind_of(answer)).startswith(_PICTURES):
            raise SourceUnavailable(f"{self._name}: sends {kind or 'data'}, no pictures")
        self._answer, self._parser, self._num_parts = answer, _parser_for(kind, answer), 0

    def _decoded(self, part: Part) -> Grabbed:
        if part.fault == "refused":
            limit = f"over the limit of {MAX_PART_BYTES // 2**20} MiB"
            raise FrameFault("refused", f"{limit}; choose a smaller size", part.began_s)
        if part.fault == "damaged":
            raise FrameFault("damaged", "its header does not end", part.began_s)
        before, self._last = self._last, self._decoder.decode(part.content, part.began_s)
        self._is_same = before is not None and before.jpeg == part.content
        return self._last


def _parser_for(kind: str, answer: http.client.HTTPResponse) -> MultipartParser | SinglePicture:
    if kind.startswith("multipart/"):
        return MultipartParser(str(answer.headers.get_param("boundary", "")))
    return SinglePicture()


def _kind_of(answer: http.client.HTTPResponse) -> str:
    """The type of an answer, by its first bytes where they are pictures; an empty text if unknown.

    Servers announce anything for pictures, and FFmpeg would not see which of them are not whole.
    """
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else ""
    if kind.startswith("multipart/"):
        return kind
    try:
        first = answer.peek(64)
    except (OSError, http.client.HTTPException):
        return kind
    if begins_as_picture(first):
        return "image/jpeg"
    if first.startswith(_PLAYLIST):
        return "application/vnd.apple.mpegurl"
    return "multipart/x-mixed-replace" if first.lstrip().startswith(b"--") else kind


def _is_no_picture(part: Part) -> bool:
    return part.kind.startswith(_OTHER_KINDS) and not begins_as_picture(part.content)

"""Whatever bytes a client sends to the live page, it is answered or disconnected."""

import logging
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from fuzz_http import HttpCases
from tests.runtime.live.rig import LIVE, shown

from ckd.runtime.live import WebView, web_server


def connected(view: WebView) -> socket.socket:
    url = urlsplit(view.url)
    assert url.hostname is not None
    return socket.create_connection((url.hostname, url.port or 0), timeout=5)


def test_a_client_that_sends_a_byte_now_and_then_is_disconnected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every byte comes in time, and the request never ends; two dozen such shut everybody out."""
    monkeypatch.setattr(web_server, "CLIENT_TIMEOUT_S", 0.5)
    with WebView(port=0) as view, connected(view) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        sent = 0
        with suppress(ConnectionError):
            while sent < 100:
                slow.sendall(b"a")
                sent += 1
                time.sleep(0.1)
        assert sent < 100
        with connected(view) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            assert other.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_stream_is_not_taken_for_a_slow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_server, "CLIENT_TIMEOUT_S", 0.3)
    with WebView(port=0) as view, connected(view) as viewer:
        viewer.sendall(b"GET /stream.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert viewer.recv(100).startswith(b"HTTP/1.1 200 OK")
        time.sleep(1.0)
        view.update(LIVE, shown())
        received = b""
        while b"\xff\xd8" not in received:  # a JPEG begins
            chunk = viewer.recv(4096)
            assert chunk, "it was disconnected"
            received += chunk


def test_requests_of_any_kind_end_without_a_word_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strategies = pytest.importorskip("strategies")
    with caplog.at_level(logging.WARNING), HttpCases() as http:
        strategies.tried(http.send, strategies.http_requests(), 0, 100)
    assert not caplog.records

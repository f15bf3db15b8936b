"""How a password is sent by Digest, and that no address that is shown holds one."""

from urllib.parse import urlsplit

import pytest

from ckd.runtime.sources.http_password import Password, without_password


def test_md5_digests_are_those_of_the_standard() -> None:
    # RFC 2617, 3.5, without its cnonce, which we draw: so the answer of RFC 2069, without qop.
    password = Password(urlsplit("http://Mufasa:Circle%20Of%20Life@h/"))
    password.asked(
        [
            'Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", '
            'opaque="5ccc069c403ebaf9f0171e9517f40e41"'
        ]
    )
    sent = password.header("/dir/index.html")
    assert 'response="670fd8c2df070c60b045671b8b24ff02"' in sent


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://anna:secret@cam/video", "http://cam/video"),
        ("http://anna:se@cret@cam/v@1", "http://cam/v@1"),
        ("http://anna:se/cret@cam/v", "http://cam/v"),
        ("http://cam/v@1", "http://cam/v@1"),
        ("http://anna:123/secret@cam/v", "http://cam/v"),
        ("http://cam:80/v@1", "http://1"),  # could be the same with a host named 1
        ("http://cam/v?user=a&pwd=secret&x=1", "http://cam/v?user=***&pwd=***&x=***"),
        ("rtsp://cam/v?loginpass=secret", "rtsp://cam/v?loginpass=***"),
        ("http://cam/v?usr=a;loginpas=b&Channel=1", "http://cam/v?usr=***;loginpas=***&Channel=1"),
        ("http://cam/v?x=a?pwd=b#token=c", "http://cam/v?x=***?pwd=***"),
        ("http://cam/v?TOKEN123&channel=1%26pwd=s", "http://cam/v?***&channel=***"),
        ("http://cam/v?channel=2?pwd=s", "http://cam/v?channel=2?pwd=***"),
        ("http://anna:se#cr?et@cam/v", "http://cam/v"),
        ("http://cam?mail=a@b&pwd=secret", "http://cam?mail=***&pwd=***"),
        ("http://[::1]/v?mail=a@b&pwd=secret", "http://[::1]/v?mail=***&pwd=***"),
        ("http://anna:secret@[::1]:80/v@1", "http://[::1]:80/v@1"),
        ("http://cam:8o/v?mail=a@b&pwd=secret", "http://b&pwd=***"),
        ("http://home/anna:secret@cam/v", "http://cam/v"),
        ("http://cam/v;pwd=secret", "http://cam/v;pwd=***"),
        (
            "rtsp://cam:554/user=anna&password=secret&channel=1&stream=0.sdp",
            "rtsp://cam:554/user=***&password=***&channel=1&stream=0.sdp",
        ),
        ("rtsp://cam/user=anna_password=secret_channel=1/1", "rtsp://cam/user=***/1"),
        ("http://cam/video?size=2", "http://cam/video?size=2"),
    ],
)
def test_no_secret_of_an_address_is_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown

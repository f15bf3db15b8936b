"""Parts of a stream, whatever liberties a camera takes, and in pieces of any size."""

import pytest
from mjpeg_camera import jpeg_of, part, png_of

from ckd.runtime.sources.multipart import MultipartParser, Part, SinglePicture

ONE, TWO, THREE = jpeg_of(1), jpeg_of(2), jpeg_of(3)
FRAMES = [ONE, TWO, THREE]
#: What servers write in and around the parts: the announced boundary, and the stream.
LIBERTIES = {
    "by the book": ("cut", b"".join(part(frame) for frame in FRAMES) + b"--cut--\r\n"),
    "announced with dashes": ("--cut", b"".join(part(frame) for frame in FRAMES)),
    "announced in quotes": ('"cut"', b"".join(part(frame) for frame in FRAMES)),
    "not announced": ("", b"".join(part(frame) for frame in FRAMES)),
    "another than announced": ("cat", b"".join(part(frame) for frame in FRAMES)),
    "without dashes": ("cut", b"".join(part(frame)[2:] for frame in FRAMES)),
    "many dashes": ("----cut", b"".join(b"--" + part(frame) for frame in FRAMES)),
    "no first boundary": ("cut", b"".join(part(frame) for frame in FRAMES)[len("--cut\r\n") :]),
    "no first boundary and header": (
        "cut",
        b"".join(part(frame) for frame in FRAMES)[part(ONE).index(ONE) :],
    ),
    "nothing announced, nothing first": (
        "",
        ONE + b"\r\n" + part(TWO) + part(THREE, "cut", "Content-Type: image/jpeg") + b"--cut\r\n",
    ),
    "text before it": ("cut", b"hello\r\n\r\n" + b"".join(part(frame) for frame in FRAMES)),
    "empty lines": ("cut", b"\r\n\r\n" + b"\r\n".join(part(frame) for frame in FRAMES)),
    "line feeds alone": (
        "cut",
        b"".join(b"--cut\nContent-type:image/jpeg\n\n" + frame + b"\n" for frame in FRAMES)
        + b"--cut\n",
    ),
    "no length": (
        "cut",
        b"".join(part(frame, "cut", "Content-Type: image/jpg") for frame in FRAMES) + b"--cut\r\n",
    ),
    "no type": (
        "cut",
        b"".join(part(frame, "cut", f"content-length: {len(frame)}") for frame in FRAMES),
    ),
    "no header": (
        "cut",
        b"".join(b"--cut\r\n\r\n" + frame + b"\r\n" for frame in FRAMES) + b"--cut",
    ),
    "no header and no empty line": (
        "cut",
        b"".join(b"--cut\r\n" + frame + b"\r\n" for frame in FRAMES) + b"--cut--",
    ),
    "length too large": (
        "cut",
        b"".join(part(frame, "cut", f"Content-Length: {len(frame) + 7}") for frame in FRAMES)
        + b"--cut--",
    ),
    "length of nonsense": (
        "cut",
        b"".join(part(frame, "cut", "Content-Length: lots") for frame in FRAMES) + b"--cut--",
    ),
    "nothing after a part": ("cut", b"".join(part(frame)[:-2] for frame in FRAMES)),
}


def parts_of(boundary: str, stream: bytes, size: int, limit: int = 10**6) -> list[Part]:
    parser = MultipartParser(boundary, limit)
    parts = []
    for at in range(0, len(stream), size):
        parts += parser.feed(stream[at : at + size], float(at))
    return parts + parser.end()


@pytest.mark.parametrize("size", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("liberty", LIBERTIES)
def test_every_frame_is_found(liberty: str, size: int) -> None:
    parts = parts_of(*LIBERTIES[liberty], size)
    assert [part.content for part in parts] == FRAMES
    assert {part.fault for part in parts} == {""}


def test_a_part_with_a_length_is_complete_before_the_next_one_comes() -> None:
    parser = MultipartParser("cut")
    assert parser.feed(part(ONE)[:-3], 1.0) == []
    assert parser.feed(part(ONE)[-3:], 2.0) == [Part(ONE, "image/jpeg", 1.0)]
    assert parser.feed(part(TWO, "cut", "Content-Type: image/jpeg; size=9"), 3.0) == []
    assert parser.feed(b"--cut\r\n", 4.0) == [Part(TWO, "image/jpeg", 3.0)]


def test_a_length_that_was_too_small_once_is_not_believed_again() -> None:
    wrong = [part(frame, "cut", f"Content-Length: {len(frame) - 9}") for frame in FRAMES]
    parts = parts_of("cut", b"".join(wrong) + b"--cut--", 1000)
    assert [part.content for part in parts] == [ONE[:-9], TWO, THREE]


def test_a_part_that_a_boundary_cuts_off_costs_itself_alone() -> None:
    stream = part(ONE)[: len(ONE) // 2] + b"\r\n" + part(TWO) + part(THREE)
    contents = [part.content for part in parts_of("cut", stream, 1000)]
    assert contents[1:] == [TWO, THREE]
    assert ONE.startswith(contents[0])


@pytest.mark.parametrize("lines", [("Content-Length: 99999999",), ("Content-Type: image/jpeg",)])
def test_a_part_that_never_ends_is_skipped_in_bounded_memory(lines: tuple[str, ...]) -> None:
    parser = MultipartParser("cut", max_part_bytes=50_000)
    parts = parser.feed(part(b"", "cut", *lines), 0.0)
    for _ in range(200):
        parts += parser.feed(bytes(1000), 1.0)
        assert len(parser._buffer) <= 51_000
    parts += parser.feed(b"\r\n" + part(TWO), 2.0)
    assert [(part.fault, part.content) for part in parts] == [("refused", b""), ("", TWO)]


@pytest.mark.parametrize("endless", [b"X-Word: and so on\r\n", b"x"])
def test_a_header_that_never_ends_is_skipped_in_bounded_memory(endless: bytes) -> None:
    parser = MultipartParser("cut", max_part_bytes=50_000)
    parts = parser.feed(b"--cut\r\n", 0.0)
    for _ in range(100):
        parts += parser.feed(endless * (1000 // len(endless)), 1.0)
        assert len(parser._buffer) <= 51_000
    parts += parser.feed(b"\r\n" + part(TWO), 2.0)
    assert [(part.fault, part.content) for part in parts] == [("damaged", b""), ("", TWO)]


def test_a_stream_without_any_boundary_is_held_in_bounded_memory() -> None:
    parser = MultipartParser("cut", max_part_bytes=50_000)
    for _ in range(100):
        assert parser.feed(b"x" * 1000, 1.0) == []
        assert len(parser._buffer) <= 51_000
    assert [part.content for part in parser.feed(b"\r\n" + part(TWO), 2.0)] == [TWO]


def test_a_single_picture_is_complete_at_the_end_and_bounded() -> None:
    single = SinglePicture(max_bytes=100_000)
    png = png_of(1)
    assert single.feed(png[:9], 1.0) == single.feed(png[9:], 2.0) == []
    assert single.end() == [Part(png, "", 1.0)]
    single = SinglePicture(max_bytes=100_000)
    parts = [part for _ in range(300) for part in single.feed(bytes(1000), 1.0)]
    assert [part.fault for part in parts + single.end()] == ["refused"]

"""A journal that somebody sent may hold anything: it costs that segment, and one line."""

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.runtime.journal.rig import Files, edit_line, npy, replayed, rewrite, zipped

from ckd.contract.errors import InputError
from ckd.runtime import Cascade
from ckd.runtime.journal import layout, open_run, pack_run, reading
from ckd.runtime.journal.layout import LINES

MASK = "00000001.1-mask_logits.npy"
INPUT = "00000001.input.png"


def png(width: int, height: int, bits: int = 8, kind: int = 2) -> bytes:
    """Of black, whatever its header says."""

    def chunk(name: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def line(**values: object) -> Callable[[Files], object]:
    return lambda files: edit_line(files, 1, lambda record: record.update(values))


def put(name: str, content: bytes) -> Callable[[Files], object]:
    return lambda files: files.update({name: content})


#: What is done to the second of three frames -> what is said of it.
DAMAGED_FRAME: dict[str, tuple[Callable[[Files], object], str]] = {
    "input gone": (lambda files: files.pop(INPUT), "is missing"),
    "input outside": (line(input="../../etc/passwd"), "'../../etc/passwd' is missing"),
    "input of another size": (put(INPUT, png(31, 31)), "expected a PNG of 32x32 pixels"),
    "input of gigapixels": (put(INPUT, png(2**31 - 1, 2**31 - 1)), "expected a PNG of 32x32"),
    "input without pixels": (put(INPUT, png(32, 32)), "image file is truncated"),
    "input of 16 bits": (put(INPUT, png(32, 32, 16)), "expected a PNG of 32x32"),
    "input that is a text": (put(INPUT, b"words"), "expected a PNG of 32x32"),
    "input that is the lines": (line(input=LINES), "expected a PNG of 32x32"),
    "output gone": (lambda files: files.pop(MASK), "is missing"),
    "output not named": (line(outputs={}), "is missing"),
    "output of another shape": (
        put(MASK, npy(np.zeros((1, 1, 5, 5), np.float32))), "expected mask_logits float32[1, 1, 32"
    ),
    "output of another type": (put(MASK, npy(np.zeros((1, 1, 32, 32)))), "got float64[1, 1, 32"),
    "output of objects": (
        put(MASK, npy(np.full((1, 1, 32, 32), None, object))), "got object[1, 1, 32"
    ),
    "output that is vast": (
        put(MASK, npy(np.zeros(1, np.float32)).replace(b"(1,)", b"(99999999999,)"[:14])),
        "got float32[99999999999]",
    ),
    "output cut off": (
        put(MASK, npy(np.zeros((1, 1, 32, 32), np.float32))[:-1]), "of the wrong length"
    ),
}  # fmt: skip

#: What makes a segment as a whole unusable -> what is said of it.
DAMAGED_SEGMENT: dict[str, tuple[Callable[[Files], object], str]] = {
    "no lines": (lambda files: files.pop(LINES), "'lines.jsonl' is missing"),
    "no JSON": (put(LINES, b"words\n"), "is damaged (Expecting value"),
    "not UTF-8": (put(LINES, b'{"kind": "\xff"}\n'), "is no text in UTF-8"),
    "a list": (put(LINES, b"[1]\n"), "expected a JSON object, got list of 1"),
    "deep": (put(LINES, b"[" * 100_000), "has over 64 levels"),
    "infinity": (put(LINES, b'{"kind": NaN}\n'), "NaN is no finite number"),
    "a number of many digits": (
        put(LINES, b'{"kind": "frame", "size_hw": [60, ' + b"9" * 4000 + b"]}\n"),
        "a number has 4000 digits, expected 300 at most",
    ),
    "many lines": (put(LINES, b"{}\n" * 10_001), "over 10000 lines"),
    "no size": (line(size_hw=None), "size_hw: expected rows and columns"),
    "a size of gigapixels": (line(size_hw=[10**6, 10**6]), "over the limit of 64 megapixels"),
    "a size of nothing": (line(size_hw=[0, 5]), "size_hw: expected a whole number from 1"),
    "a number that is none": (line(number=True), "number: expected a whole number"),
    "a number below none": (line(number=-1), "number: expected a whole number"),
    "outputs that are a list": (line(outputs=[1]), "outputs: expected an object"),
    "a name with a line break": (line(input="a\nb"), "printable characters, got 'a\\nb'"),
    "a finding that is a text": (line(finding="MEL"), "finding: expected an object"),
    "a decision that is a number": (
        line(finding={"decision": {"flagged": 1}}), "flagged: expected true, false or null"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED_FRAME)
def test_a_damaged_frame_costs_that_frame(
    cascade: Cascade, run: Path, tmp_path: Path, name: str
) -> None:
    change, message = DAMAGED_FRAME[name]
    rewrite(run / "segment-00000000.zip", change)
    frames, outcome, missing = replayed(tmp_path, cascade)
    assert [one.stored.number for one in frames] == [0, 2]
    assert outcome.first is None
    (said,) = missing.damaged
    assert said.startswith("segment-00000000.zip: frame 1 is damaged (")
    assert message in said
    assert "\n" not in said


@pytest.mark.parametrize("name", DAMAGED_SEGMENT)
def test_a_damaged_segment_costs_that_segment(
    cascade: Cascade, run: Path, tmp_path: Path, name: str
) -> None:
    change, message = DAMAGED_SEGMENT[name]
    path = run / "segment-00000000.zip"
    (run / "segment-00000001.zip").write_bytes(path.read_bytes())
    rewrite(path, change)
    frames, _, missing = replayed(tmp_path, cascade)
    assert len(frames) == 3  # of the second segment
    (said,) = missing.damaged
    assert said.startswith(f"{run.name}: segment-00000000.zip is damaged (")
    assert message in said
    assert "\n" not in said
    assert len(said) < 400
    assert pack_run(open_run(tmp_path), tmp_path / "bug.zip") == [said]
    assert len(replayed(tmp_path / "bug.zip", cascade)[0]) == 3


def test_every_bit_of_a_segment_that_flips_is_noticed(
    cascade: Cascade, run: Path, tmp_path: Path
) -> None:
    path = run / "segment-00000000.zip"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.infolist() if not m.filename.endswith(".jpg")]
    for member in members[::3]:
        start = member.header_offset + 30 + len(member.filename)
        damaged = bytearray(whole)
        damaged[start + int(rng.integers(member.compress_size))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        _, outcome, missing = replayed(tmp_path, cascade)
        assert outcome.first is None  # not taken for an answer that differs
        assert len(missing.damaged) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_segment_that_was_cut_off_is_one_line(
    cascade: Cascade, run: Path, tmp_path: Path, share: float
) -> None:
    path = run / "segment-00000000.zip"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    frames, _, missing = replayed(tmp_path, cascade)
    assert frames == []
    assert missing.damaged == [f"{run.name}: segment-00000000.zip is damaged (no zip file)"]


def test_what_unpacks_to_more_than_a_segment_is_not_unpacked(
    cascade: Cascade, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run / "segment-00000000.zip"
    rewrite(path, put("bomb", bytes(10**6)))
    monkeypatch.setattr(reading, "MAX_SEGMENT_BYTES", 10**5)
    monkeypatch.setattr(reading, "_MAX_LINES_BYTES", 10**5)
    assert path.stat().st_size < 10**5
    _, _, missing = replayed(tmp_path, cascade)
    assert "when it is unpacked" in missing.damaged[0]
    # A size in the index that is too small helps nobody: no more is read than it says.
    content = path.read_bytes().replace(struct.pack("<I", 10**6), struct.pack("<I", 10))
    path.write_bytes(content)
    frames, _, _ = replayed(tmp_path, cascade)
    assert len(frames) == 3  # the bomb is never read
    with pytest.raises(ValueError, match="bomb"):
        reading.Segment.of("", content).read("bomb")
    path.write_bytes(bytes(10**5 + 1))
    _, _, missing = replayed(tmp_path, cascade)
    assert "over 0 MiB" in missing.damaged[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "a journal of schema 2, and this ckd reads schema 1"),
        ({"schema": None}, "schema: expected a whole number"),
        ({"backend": "a\x1b[2J"}, "backend: expected a text"),
        ({"threads": 0}, "threads: expected a whole number from 1 to 1024"),
        ({"threads": 10**6}, "threads: expected a whole number from 1 to 1024"),
        ({"bundle": "tiny"}, "bundle: expected an object"),
        ({"prevalence": {"MEL": "much"}}, "MEL: expected a number"),
        ({"versions": {"numpy": 2}}, "numpy: expected a text"),
    ],
)
def test_a_header_that_is_damaged_or_newer_is_refused(
    cascade: Cascade, run: Path, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    header = json.loads((run / "journal.json").read_text())
    (run / "journal.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(InputError) as refused:
        open_run(tmp_path)
    assert message in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_header_that_is_too_long_is_refused(cascade: Cascade, run: Path, tmp_path: Path) -> None:
    (run / "journal.json").write_bytes(b" " * (layout.MAX_HEADER_BYTES + 1))
    with pytest.raises(InputError, match=r"journal.json: .*over 1 MiB"):
        open_run(tmp_path)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no journal there"):
        open_run(tmp_path / "gone")
    with pytest.raises(InputError, match="no journal there"):
        open_run(tmp_path)
    (tmp_path / "words.zip").write_text("words")
    with pytest.raises(InputError, match="neither a journal's folder nor an archive"):
        open_run(tmp_path / "words.zip")
    (tmp_path / "other.zip").write_bytes(zipped({"photo.jpg": b""}))
    with pytest.raises(InputError, match=r"'journal.json' is missing"):
        open_run(tmp_path / "other.zip")


def test_a_photograph_that_is_damaged_is_a_damaged_frame(
    cascade: Cascade, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, jpeg = cv2.imencode(".jpg", np.zeros((20, 20, 3), np.uint8))
    assert encoded
    path = run / "segment-00000000.zip"
    rewrite(path, put("00000000.photograph.jpg", jpeg.tobytes()))  # of another size
    rewrite(path, put("00000001.photograph.jpg", jpeg.tobytes()[:200]))
    rewrite(path, lambda files: edit_line(files, 2, lambda one: one.update(photograph="gone")))
    monkeypatch.setattr(type(cascade.spec), "image_size", property(lambda spec: 33))
    monkeypatch.setattr(cascade, "bundle_digest", "another")
    _, _, missing = replayed(tmp_path, cascade)
    for said, message in zip(
        missing.damaged, ("not of the size", "its markers are damaged", "is missing"), strict=True
    ):
        assert message in said


def test_a_photograph_that_lost_a_bit_is_said_although_nothing_is_computed_from_it(
    cascade: Cascade, run: Path, tmp_path: Path
) -> None:
    path = run / "segment-00000000.zip"
    with zipfile.ZipFile(path) as archive:
        lost = archive.read("00000001.photograph.jpg")
    content = bytearray(path.read_bytes())
    content[content.index(lost) + len(lost) // 2] ^= 1
    path.write_bytes(content)
    frames, _, missing = replayed(tmp_path, cascade)
    assert [one.stored.number for one in frames] == [0, 2]
    assert missing.damaged == [
        "segment-00000000.zip: frame 1 is damaged (00000001.photograph.jpg: "
        "Bad CRC-32 for file '00000001.photograph.jpg')"
    ]


def with_index_of(num_bytes: int, *, is_64: bool) -> bytes:
    """The end of a zip whose list of files is said to have that length."""
    said = num_bytes if not is_64 else 0xFFFFFFFF
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, said, 0, 0)
    if not is_64:
        return bytes(200) + end
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, num_bytes, 0)
    return bytes(200) + record + struct.pack("<4sLQL", b"PK\6\7", 0, 200, 1) + end


@pytest.mark.parametrize("is_64", [False, True])
def test_a_list_of_files_that_would_fill_the_memory_is_not_read(is_64: bool) -> None:
    with pytest.raises(ValueError, match="list of files is over 4 MiB"):
        reading.Segment.of("", with_index_of(5 << 20, is_64=is_64))
    with pytest.raises(ValueError, match="no zip file"):
        reading.Segment.of("", with_index_of(4 << 20, is_64=is_64))


def test_a_pipe_in_the_place_of_a_segment_is_not_opened(cascade: Cascade, run: Path) -> None:
    os.mkfifo(run / "segment-00000001.zip")
    frames, _, missing = replayed(run, cascade)
    assert len(frames) == 3
    assert missing.damaged == [f"{run.name}: segment-00000001.zip is damaged (no file)"]


def test_members_that_are_packed_in_other_ways_are_not_read() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(LINES, "{}\n")
    with pytest.raises(ValueError, match="packed in a way that is not read"):
        reading.Segment.of("", content.getvalue())

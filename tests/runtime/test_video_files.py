"""What video files say of themselves: their length, times of frames, how they are turned."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from ckd.contract.errors import SourceUnavailable
from ckd.picture.upright import upright
from ckd.runtime.sources import Frame, VideoFile
from ckd.runtime.sources.containers import holds_its_end, orientation_shown

#: Of a track header (a, b, c, d), with the EXIF orientation of the same picture: as QuickTime's and
#: ISO 14496-12's (x', y') = (ax + cy, bx + dy) say it.
MATRICES = {
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


def corners() -> NDArray[np.uint8]:
    """An RGB picture whose four quarters differ."""
    image_HWC = np.zeros((64, 96, 3), np.uint8)
    image_HWC[:32, :48, 0] = image_HWC[:32, 48:, 1] = image_HWC[32:, :48, 2] = 220
    return image_HWC


def write_film(path: Path, codec: str, num_frames: int = 10, noise: int = 0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10.0, (96, 64))
    assert writer.isOpened()
    grains = np.random.default_rng(3)
    for _ in range(num_frames):
        image_bgr = corners()[..., ::-1] + grains.integers(0, noise + 1, (64, 96, 3), np.uint8)
        writer.write(np.ascontiguousarray(image_bgr))
    writer.release()
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_film(tmp_path_factory.mktemp("film") / "clip.mp4", "mp4v").read_bytes()


def with_matrix(film: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """A film whose track header says how it is turned."""
    at = film.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    return film[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + film[at + 36 :]


@pytest.mark.parametrize("orientation", MATRICES)
def test_a_film_is_turned_and_mirrored_as_players_show_it(
    film: bytes, tmp_path: Path, orientation: int
) -> None:
    path = tmp_path / "turned.mp4"
    path.write_bytes(with_matrix(film, MATRICES[orientation]))
    expected_HWC = upright(corners(), orientation)
    assert orientation_shown(path) == orientation
    with VideoFile(path) as source:
        assert source.size_hw == expected_HWC.shape[:2]
        for frame in source:
            difference = np.abs(frame.image_HWC.astype(int) - expected_HWC)
            assert np.median(difference) < 16  # coding moves colours, most at the borders
            assert difference.mean() < 16


@pytest.mark.parametrize(
    ("name", "codec"), [("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.mkv", "mp4v")]
)
def test_a_file_says_whether_it_is_whole(tmp_path: Path, name: str, codec: str) -> None:
    path = write_film(tmp_path / name, codec, noise=30)
    content = path.read_bytes()
    assert holds_its_end(path) is True
    for kept in (len(content) // 2, len(content) - 9):
        path.write_bytes(content[:kept])
        assert holds_its_end(path) is False
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))  # a copy that was broken off
    assert holds_its_end(path) is False


def test_a_stream_without_a_length_does_not_fall_short_of_it(tmp_path: Path) -> None:
    path = write_film(tmp_path / "clip.mkv", "mp4v")
    content = path.read_bytes()
    at = content.index(b"\x18\x53\x80\x67") + 4
    path.write_bytes(content[:at] + b"\x01" + b"\xff" * 7 + content[at + 8 :])
    assert holds_its_end(path) is None
    path.write_bytes(b"G" * 188)
    assert holds_its_end(path) is None
    assert orientation_shown(path) == 1


@pytest.mark.parametrize(
    "damage", [b"\x00\x00\x00\x00moov", b"\x00\x00\x00\x01moov", b"\x00\x00\x00\x02moov"]
)
def test_boxes_without_a_size_end_the_search(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"\x00\x00\x00\x08ftyp" + damage * 40_000)
    assert holds_its_end(path) in (True, False)
    assert orientation_shown(path) == 1


def trimmed(film: bytes, announced: int) -> bytes:
    """A whole film that announces more frames than it shows, as one that a phone has trimmed."""
    rate = film.index(b"stts") + 4 + 4 + 4
    count = struct.unpack(">I", film[rate : rate + 4])[0]
    assert count == 10
    return film[:rate] + struct.pack(">I", announced) + film[rate + 4 :]


def test_a_whole_film_is_not_called_cut_off_however_many_frames_it_announces(
    film: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "trimmed.mp4"
    path.write_bytes(trimmed(film, 30))
    with VideoFile(path) as source:
        assert source.num_frames is not None
        assert len(list(source)) == 10 < 0.9 * source.num_frames
    # The same film without its last bytes: the index is there, the pictures are not.
    beginning = path.read_bytes()
    moov, mdat = beginning.index(b"moov") - 4, beginning.index(b"mdat") - 4
    assert mdat < moov
    path.write_bytes(beginning[:mdat] + beginning[moov:] + beginning[mdat:moov][:-100])
    assert holds_its_end(path) is False


def test_images_of_a_folder_are_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    folder.mkdir()
    for number in (0, 2, 9, 10):
        image_HWC = np.full((48, 64, 3), 20 * number, np.uint8)
        assert cv2.imwrite(str(folder / f"frame{number}.png"), image_HWC)
    (folder / "frame1.png").write_bytes((folder / "frame2.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("none")
    with VideoFile(folder) as source:
        assert source.num_frames == 5
        assert source.size_hw == (48, 64)
        assert source.fps == 25
        frames = list(source)
        assert source.faults == {"damaged": 1}
    assert [frame.image_HWC[0, 0, 0] for frame in frames] == [0, 40, 180, 200]
    assert [frame.index for frame in frames] == [0, 2, 3, 4]
    assert [frame.position_s for frame in frames] == [0, 0.08, 0.12, 0.16]


def test_a_folder_whose_images_are_all_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "frame1.png").write_bytes(b"\x89PNG")
    with pytest.raises(SourceUnavailable, match="is a folder without images that can be read"):
        VideoFile(tmp_path)


def test_frames_have_their_times(film: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(film)
    with VideoFile(path) as source:
        times_s = [frame.position_s for frame in source]
    assert times_s == pytest.approx([index / 10 for index in range(10)], abs=0.002)


def test_a_film_cut_off_says_so_after_its_frames(tmp_path: Path) -> None:
    path = write_film(tmp_path / "clip.avi", "MJPG", 30)
    path.write_bytes(path.read_bytes()[:-2500])
    frames: list[Frame] = []
    with VideoFile(path) as source, pytest.raises(SourceUnavailable, match=r"ends after \d+ of 30"):
        frames.extend(source)
    assert 20 <= len(frames) < 30

"""A camera that is turned, mirrored or tinted gives with its unit file the plain one's answer."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from rendered_targets import TINT
from tests.runtime.unit.rig import SIDE, Camera, scene, seen, unit_of

from ckd.contract.errors import SourceUnavailable
from ckd.finding.overlay import draw_overlay
from ckd.picture import network_image
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal, open_run
from ckd.runtime.journal.reading import Segment
from ckd.runtime.journal.stored import StoredFrame
from ckd.runtime.live import ButtonView, Shown, Status, run_live, save_snapshot
from ckd.runtime.sinks import Recorder
from ckd.runtime.unit import Handle, UnitSource
from ckd.runtime.unit.geometry import Geometry

GEOMETRIES = {
    "turned": Geometry(rotate_deg=90),
    "upside down": Geometry(rotate_deg=180),
    "mirrored": Geometry(mirror=True),
    "flipped": Geometry(flip=True),
    "turned, mirrored and flipped": Geometry(rotate_deg=270, mirror=True, flip=True),
    "in a round field": Geometry(field_px=(80, 60, SIDE), rotate_deg=90, mirror=True),
}
FIELD = GEOMETRIES["in a round field"]


def nearest_turn(kept_HWC: NDArray[np.uint8], plain_HWC: NDArray[np.uint8]) -> int:
    """In which of eight ways a picture was turned or mirrored before JPEG changed it a little."""
    off = [
        float(np.abs(kept_HWC.astype(int) - np.rot90(side_HWC, turns)).mean())
        for side_HWC in (plain_HWC, plain_HWC[::-1])
        for turns in range(4)
    ]
    nearest, second = sorted(off)[:2]
    assert nearest < second / 2
    return off.index(nearest)


def test_a_turned_camera_gives_the_answer_of_the_plain_one_to_the_bit(cascade: Cascade) -> None:
    plain_HWC = scene()
    expected = cascade.predict(plain_HWC)
    for name, geometry in GEOMETRIES.items():
        camera_HWC = seen(plain_HWC, geometry)
        assert not np.array_equal(camera_HWC, plain_HWC), name
        with UnitSource(Camera([camera_HWC]), unit_of(geometry)) as source:
            frame = source.get()
        assert frame is not None
        np.testing.assert_array_equal(frame.image_HWC, plain_HWC, name)
        assert frame.jpeg is None  # it shows another picture
        finding = cascade.predict(frame.image_HWC)
        assert finding.probabilities == expected.probabilities
        np.testing.assert_array_equal(finding.mask_HW, expected.mask_HW, name)


def test_a_tinted_camera_gives_the_answer_of_the_plain_one(cascade: Cascade) -> None:
    plain_HWC = scene()
    tinted_HWC = seen(plain_HWC, FIELD, TINT)
    with UnitSource(Camera([tinted_HWC]), unit_of(FIELD, TINT)) as source:
        frame = source.get()
    assert frame is not None
    expected, finding = cascade.predict(plain_HWC), cascade.predict(frame.image_HWC)
    as_it_comes = cascade.predict(FIELD.applied(tinted_HWC))
    assert finding.top == expected.top
    for label, probability in expected.probabilities.items():
        off = abs(finding.probabilities[label] - probability)
        assert off < 0.005  # a tint costs a few code values
        assert off < abs(as_it_comes.probabilities[label] - probability) / 10
    right, wrong = (
        float(np.mean(one.mask_HW == expected.mask_HW)) for one in (finding, as_it_comes)
    )
    assert right > 0.95  # by networks of random weights, which leave many pixels undecided
    assert right > wrong


def test_mask_overlay_recording_snapshot_and_journal_agree(
    cascade: Cascade, tmp_path: Path
) -> None:
    plain = [scene(index) for index in range(3)]
    unit = unit_of(FIELD)
    handle = Handle(unit)
    shown: list[Shown] = []

    class Watcher:
        closed = False

        def update(self, status: Status, new: Shown | None) -> None:
            if new is not None:
                shown.append(new)

    recorder = Recorder(
        tmp_path / "seen.mkv", min_free_bytes=0, leaves_out=False, say=lambda line: None
    )
    saved: list[str] = []
    assert handle.change("capture", 1.0, is_down=True)
    with (
        UnitSource(Camera([seen(image, FIELD) for image in plain]), unit, handle) as source,
        recorder,
        ButtonView(handle, partial(save_snapshot, tmp_path / "saved"), saved.append) as button,
        Journal(tmp_path / "journal", cascade, source, limit=10**8, waits=True) as journal,
    ):
        run_live(
            source, cascade.begin, draw_overlay, views=[Watcher(), button], recorder=recorder,
            journal=journal,
        )  # fmt: skip
    assert [one.frame.index for one in shown] == [0, 1, 2]
    for one, plain_HWC in zip(shown, plain, strict=True):
        np.testing.assert_array_equal(one.frame.image_HWC, plain_HWC)
        assert one.finding.mask_HW is not None
        assert one.finding.mask_HW.shape == (SIDE, SIDE)
        np.testing.assert_array_equal(one.overlay_HWC, draw_overlay(plain_HWC, one.finding))

    capture = cv2.VideoCapture(str(tmp_path / "seen.mkv"))
    for one in shown:
        read, recorded_bgr = capture.read()
        assert read
        recorded_HWC = np.asarray(recorded_bgr[..., ::-1], np.uint8)
        assert nearest_turn(recorded_HWC, one.overlay_HWC) == 0
    capture.release()

    (record_file,) = (tmp_path / "saved").glob("*.json")
    record = json.loads(record_file.read_text())
    assert record["unit"] == {
        "name": "handle", "mm_per_px": 0.02, "polarised": None, "pressed": True
    }  # fmt: skip
    assert record["frame"] == 0
    assert len(saved) == 1  # one press, one frame
    photograph = cv2.imread(str(record_file.with_suffix(".png")))
    assert photograph is not None
    np.testing.assert_array_equal(photograph[..., ::-1], plain[0])
    mask = cv2.imread(f"{record_file.with_suffix('')}_mask.png", cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask == 255, shown[0].finding.mask_HW)

    stored: list[StoredFrame] = []
    for segment in open_run(journal.run).segments():
        assert isinstance(segment, Segment)
        stored += segment.frames
    for frame, plain_HWC in zip(stored, plain, strict=True):
        assert frame.size_hw == (SIDE, SIDE)
        side = cascade.spec.image_size
        np.testing.assert_array_equal(frame.input(side), network_image(plain_HWC, side))
        photograph_HWC = frame.picture()
        assert photograph_HWC is not None
        assert nearest_turn(photograph_HWC, plain_HWC) == 0


def test_a_frame_of_another_size_is_refused(tmp_path: Path) -> None:
    with (
        UnitSource(Camera([scene()]), unit_of(FIELD)) as source,
        pytest.raises(SourceUnavailable, match=r"is 96 x 96 pixels, and handle\.toml is made for"),
    ):
        source.get()


def test_a_unit_that_changes_no_pixel_keeps_the_cameras_jpeg() -> None:
    camera = Camera([scene()])
    with UnitSource(camera, unit_of(Geometry())) as source:
        frame = source.get()
        assert frame is not None
        assert frame.jpeg == b"jpeg"
        assert (source.state, source.name, source.dropped) == ("ended", "camera", 0)
        assert source.get() is None
    assert camera.closed

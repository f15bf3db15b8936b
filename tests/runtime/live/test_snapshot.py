"""What the save button stores."""

import json
import resource
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from disk_order import watched
from tests.runtime.live.rig import shown

from ckd.contract.errors import CkdError
from ckd.finding.explanation import draw_explanation
from ckd.runtime.live import (
    save_snapshot,
)


def test_a_snapshot_holds_frame_mask_overlay_and_numbers(tmp_path: Path) -> None:
    overlay = save_snapshot(tmp_path / "out", shown(7))
    stem = overlay.name.removesuffix("_overlay.png")
    assert stem.endswith("_000007")
    assert sorted(path.name for path in overlay.parent.iterdir()) == [
        f"{stem}.json",
        f"{stem}.png",
        f"{stem}_mask.png",
        f"{stem}_overlay.png",
    ]
    stored_bgr = cv2.imread(str(overlay))
    assert stored_bgr is not None
    assert stored_bgr[0, 0].tolist() == [0, 0, 255]
    mask_HW = cv2.imread(str(overlay.parent / f"{stem}_mask.png"), cv2.IMREAD_UNCHANGED)
    assert mask_HW is not None
    assert (mask_HW.ndim, int((mask_HW == 255).sum())) == (2, 24 * 32)
    record = json.loads((overlay.parent / f"{stem}.json").read_text())
    assert record["image"] == f"{stem}.png"
    assert (record["frame"], record["top"], record["lesion_area_px"]) == (7, "NEV", 24 * 32)


def test_a_snapshot_with_class_maps_holds_what_speaks_for_the_answer(tmp_path: Path) -> None:
    plain = shown(7)
    maps = {label: np.eye(2, dtype=np.float32) for label in plain.finding.probabilities}
    finding = replace(plain.finding, class_maps=maps)
    overlay = save_snapshot(tmp_path, replace(plain, finding=finding))
    stored_bgr = cv2.imread(str(overlay).replace("_overlay", "_explanation"))
    assert stored_bgr is not None
    expected_HWC = draw_explanation(plain.frame.image_HWC, finding)
    np.testing.assert_array_equal(stored_bgr[..., ::-1], expected_HWC)


def test_a_snapshot_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CkdError, match="taken: cannot save there"):
        save_snapshot(tmp_path / "taken", shown())


def test_a_snapshot_is_on_the_disk_when_it_is_told_of(tmp_path: Path) -> None:
    with watched() as order:
        save_snapshot(tmp_path, shown())
    assert order.events[-1] == "sync folder"


def test_a_snapshot_without_room_leaves_nothing_of_itself(tmp_path: Path) -> None:
    overlay = save_snapshot(tmp_path / "before", shown())
    frame = overlay.with_name(overlay.name.replace("_overlay", ""))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (frame.stat().st_size, hard))  # the JSON is larger
    try:
        with pytest.raises(CkdError, match="cannot save there"):
            save_snapshot(tmp_path / "taken", shown())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "taken").iterdir())

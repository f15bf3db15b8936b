"""Clocks that jump: the wall clock is set while a camera runs; the machine sleeps for an hour."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.journal.rig import replayed
from tests.runtime.photographs import photo

from ckd.finding.overlay import draw_overlay
from ckd.runtime import Cascade
from ckd.runtime.journal import Journal, layout, segments
from ckd.runtime.live import run_live
from ckd.runtime.sinks import Recorder
from ckd.runtime.sources import Frame, FrameSource, SourceState
from ckd.runtime.sources.faults import FaultCounter, Grabbed

ASLEEP_S = 3600.0


class Jumping(datetime):
    """A wall clock that is set back by years, and ahead again, whenever somebody looks."""

    turn = 0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Jumping":
        cls.turn += 1
        moment = datetime(2026, 1, 1, tzinfo=tz) + (-1) ** cls.turn * timedelta(days=3650)
        return cls.fromtimestamp(moment.timestamp(), tz)


class Sleeper(FrameSource):
    """Twelve frames, 0.1 s apart; between two of them the machine has slept."""

    name = "sleeper"
    state: SourceState = "live"
    detail = ""
    fps = None
    dropped = 0

    def __init__(self) -> None:
        self._frames = self._all()

    def get(self, timeout_s: float | None = None) -> Frame | None:
        return next(self._frames, None)

    def close(self) -> None:
        pass

    def _all(self) -> Iterator[Frame]:
        for index, time_s in enumerate(times_s()):
            yield Frame(photo(index), index, time_s)
        self.state = "ended"


def times_s() -> list[float]:
    return [1e5 + 0.1 * index + (ASLEEP_S if index >= 8 else 0) for index in range(12)]


def played_ms(path: Path) -> list[int]:
    capture, found = cv2.VideoCapture(str(path)), []
    while capture.grab():
        found.append(round(capture.get(cv2.CAP_PROP_POS_MSEC)))
    return found


def test_clocks_that_jump_change_no_order_and_lose_nothing(
    cascade: Cascade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (layout, segments):
        monkeypatch.setattr(module, "datetime", Jumping)
    recording = tmp_path / "seen.mkv"
    for _ in range(2):
        recording.unlink(missing_ok=True)
        source = Sleeper()
        with (
            Recorder(recording, min_free_bytes=0, leaves_out=False, say=print) as recorder,
            Journal(tmp_path / "journal", cascade, source, limit=10**9, waits=True) as journal,
        ):
            report = run_live(
                source, cascade.begin, draw_overlay, recorder=recorder, journal=journal
            )
        assert report.statistics.num_analysed == 12
    assert played_ms(recording) == [round(1e3 * (time_s - 1e5)) for time_s in times_s()]
    runs = layout.runs_in(tmp_path / "journal")
    assert [run.name[:6] for run in runs] == ["000001", "000002"]
    again, outcome, _ = replayed(tmp_path / "journal", cascade)  # of the latest run
    assert [one.stored.number for one in again] == list(range(12))
    assert (outcome.num_different, journal.run) == (0, runs[-1])


def test_a_machine_that_slept_has_one_late_frame() -> None:
    def picture(level: int) -> NDArray[np.uint8]:
        return np.full((16, 16, 3), level, np.uint8)

    counter = FaultCounter()
    for level, time_s in enumerate(times_s()):
        counter.usable(Grabbed(picture(level), time_s))
    assert counter.counts == {"late": 1}
    assert counter.typical_s == pytest.approx(0.1)

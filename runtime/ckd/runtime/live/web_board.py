"""What the web view shows: the loop writes it, and the threads that serve browsers read it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ckd.contract.errors import CkdError
from ckd.finding.finding import Finding
from ckd.finding.left_out import DIAGNOSIS
from ckd.finding.sentences import lesion_shown
from ckd.finding.sentences import shown as sentence_shown
from ckd.picture.encode import encode_jpeg
from ckd.runtime.live.view import Saver, Shown, Status, finding_json
from ckd.runtime.sinks.recording_state import RecordingState


class Board:
    """The finding that is shown, and its JPEG, which is made when the first browser asks for it.

    Freezing is done here and not in the browser, so that the saved frame is the one that is seen.

    Args:
        source_name: shown at the top of the page.
        save: what the save button does; None if nothing can be saved.
        max_side_px: larger pictures are shrunk.
        pressed: told what a button does, in the thread of the browser that pressed it.
    """

    def __init__(
        self,
        source_name: str,
        save: Saver | None,
        max_side_px: int,
        pressed: Callable[[str], None] = lambda key: None,
    ) -> None:
        self._source_name = source_name
        self._save, self._pressed = save, pressed
        self._max_side_px = max_side_px
        self._changed = threading.Condition()  # guards the next block
        self._shown: Shown | None = None
        self._sequence = 0  # number of `_shown`; 0 means that there is none yet
        self._status = Status(state="connecting")
        self._updated_s = time.monotonic()
        self._frozen = False
        self._closed = False
        self._encoding = threading.Lock()  # guards the JPEG; never acquired inside the lock above
        self._jpeg = b""
        self._jpeg_sequence = 0

    def publish(self, status: Status, shown: Shown | None) -> None:
        """Show a new finding, unless frozen; with None only the state changes."""
        with self._changed:
            self._status = status
            self._updated_s = time.monotonic()
            if shown is not None and not self._frozen:
                self._shown = shown
                self._sequence += 1
                self._changed.notify_all()

    def freeze(self, frozen: bool) -> None:
        """Keep the picture that is shown, or no longer; without a picture nothing is frozen."""
        self._pressed("freeze" if frozen else "unfreeze")
        with self._changed:
            self._frozen = frozen and self._shown is not None

    def close(self) -> None:
        """Wake all threads that wait for a picture."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        with self._changed:
            return self._closed

    def next_jpeg(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """Wait for a picture with a number above ``after``; gives its number and JPEG, or None."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._sequence > after, timeout_s)
            if self._closed or self._shown is None or self._sequence <= after:
                return None
            sequence, shown = self._sequence, self._shown
        with self._encoding:  # all browsers share one encoding of a picture
            if self._jpeg_sequence < sequence:
                self._jpeg = _jpeg(shown, self._max_side_px)
                self._jpeg_sequence = sequence
            return self._jpeg_sequence, self._jpeg

    def save(self) -> str:
        """Save what is shown; gives the file's name.

        Raises:
            CkdError: nothing is shown, saving is off, or the files cannot be written.
        """
        self._pressed("save")
        with self._changed:
            shown = self._shown
        if self._save is None:
            raise CkdError("saving is off: start with an output folder")
        if shown is None:
            raise CkdError("nothing to save yet")
        return self._save(shown).name

    def state(self) -> dict[str, Any]:
        """All that the page shows besides the picture."""
        with self._changed:
            shown, status, frozen = self._shown, self._status, self._frozen
            age_s = time.monotonic() - self._updated_s
        statistics = status.statistics
        return {
            "source": self._source_name,
            "state": status.state,
            "detail": status.detail,
            "loop_silent_s": round(age_s, 2),
            "frozen": frozen,
            "can_save": self._save is not None,
            "notice": sentence_shown("research"),
            "analysed": statistics.num_analysed,
            "unusable": statistics.num_unusable,
            "dropped": statistics.num_dropped,
            "journal": status.journal,
            "faults": dict(statistics.faults),
            "fps": statistics.fps,
            "latency_ms": {"p50": statistics.latency_p50_ms, "p90": statistics.latency_p90_ms},
            "recording": None if status.recording is None else _recording(status.recording),
            "result": None if shown is None else _result(shown),
        }


def _recording(recording: RecordingState) -> dict[str, Any]:
    return {
        "file": recording.path.name,
        "pictures": recording.num_pictures,
        "left_out": recording.num_left_out,
        "bytes": recording.num_bytes,
        "time_left_s": recording.time_left_s,
        "ended_by": recording.ended_by,
        "warning": recording.warning,
    }


def _result(shown: Shown) -> dict[str, Any]:
    finding, (height, width) = shown.finding, shown.frame.size_hw
    title = "title_top" if finding.decision is None else "title_decision"
    if DIAGNOSIS in finding.left_out and not finding.is_held:
        title = "title_no_answer"
    return {
        **finding_json(shown),
        "names": {label: lesion_shown(label) for label in finding.probabilities},
        "title": sentence_shown(title if finding.reason is None else "title_no_finding"),
        "headline": finding.headline,
        "second": "" if finding.decision is None else finding.second,
        "beneath": list(finding.beneath),
        "hint": "" if finding.capture is None else finding.capture.shown,
        "good_picture": _praise(finding),
        "settled": "" if finding.pooled is None else finding.pooled.shown,
        "basis": finding.basis_shown,
        "lesion_share": finding.lesion_area_px / (height * width),
    }


def _praise(finding: Finding) -> str:
    """What is said of a good picture while there is no hint to follow, and an answer."""
    capture = finding.capture
    is_good = capture is not None and capture.good and not capture.told
    is_answered = finding.reason is None and DIAGNOSIS not in finding.left_out
    return sentence_shown("good_picture") if is_good and is_answered else ""


def _jpeg(shown: Shown, max_side_px: int) -> bytes:
    scale = max_side_px / max(shown.frame.size_hw)
    if scale >= 1:
        return shown.overlay.jpeg  # the same that is recorded
    image_HWC = shown.overlay_HWC
    shrunk = cv2.resize(image_HWC, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(shrunk, dtype=np.uint8))

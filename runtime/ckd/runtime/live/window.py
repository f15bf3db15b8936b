"""The desktop window: the overlay, and a panel of numbers beside it.

Keys: q or Esc quits, space freezes the picture (analysis goes on), s saves what is shown.
"""

import os
import sys
import time
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import CkdError, EnvironmentUnusable
from ckd.finding.finding import Finding
from ckd.finding.overlay import drawable, wrapped
from ckd.finding.sentences import percent_shown
from ckd.finding.sentences import shown as sentence_shown
from ckd.runtime.closing import Closing
from ckd.runtime.live.view import Saver, Shown, Status
from ckd.runtime.sources.faults import faults_shown
from ckd.runtime.sources.opencv import build_feature

PANEL_WIDTH_PX = 340
_MIN_HEIGHT_PX = 540
_WHITE, _GREY, _BACK = (235, 235, 235), (150, 150, 150), (28, 28, 30)
_ACCENT, _TRACK, _WARNING = (64, 170, 160), (62, 62, 66), (235, 150, 60)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_MESSAGE_S = 4.0
#: What keys do, by OpenCV's number; 255 is none.
_KEYS = {ord("q"): "quit", 27: "quit", ord(" "): "unfreeze", ord("s"): "save", 255: ""}
_BELOW_BARS_PX = 110  # for what bars rest on, and the last lines of the panel


class WindowView(Closing):
    """A window of OpenCV; create and update it in the main thread.

    Args:
        title: of the window.
        save: what the key s does; None if it does nothing.
        pressed: told what a key does ("freeze", "unfreeze", "save", "quit"), or the key itself.

    Raises:
        EnvironmentUnusable: this OpenCV has no windows, or there is no display.
    """

    def __init__(
        self,
        title: str = "ckd live",
        *,
        save: Saver | None = None,
        pressed: Callable[[str], None] = lambda key: None,
    ) -> None:
        if build_feature("GUI") is None:
            raise EnvironmentUnusable(
                "window: this OpenCV is built without windows; use `--view web`, "
                "or install opencv-python in place of opencv-python-headless"
            )
        on_linux = sys.platform.startswith("linux")
        if on_linux and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            # Without a display Qt would abort the whole process.
            raise EnvironmentUnusable(
                "window: there is no display (DISPLAY is not set); use `--view web`, "
                "or log in with `ssh -X`"
            )
        self._title = title
        self._save, self._pressed = save, pressed
        self._shown: Shown | None = None
        self._frozen = False
        self._closed = False
        self._message = ""
        self._message_until_s = 0.0
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO)

    @property
    def closed(self) -> bool:
        """True after q, Esc, or the window's own close button."""
        return self._closed

    def update(self, status: Status, shown: Shown | None) -> None:
        """Draw the window and act on keys."""
        if shown is not None and not (self._frozen and self._shown):
            self._shown = shown
        message = self._message if time.monotonic() < self._message_until_s else ""
        picture_HWC = window_picture(status, self._shown, frozen=self._frozen, message=message)
        cv2.imshow(self._title, cv2.cvtColor(picture_HWC, cv2.COLOR_RGB2BGR))
        self._on_key(cv2.waitKey(1) & 0xFF)
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            self._closed = True

    def close(self) -> None:
        """Close the window. May be called twice."""
        self._closed = True
        cv2.destroyAllWindows()

    def _on_key(self, key: int) -> None:
        name = "freeze" if key == ord(" ") and not self._frozen else _KEYS.get(key, chr(key))
        if name and name.isprintable():
            self._pressed(name)
        if key in (ord("q"), 27):
            self._closed = True
        elif key == ord(" "):
            self._frozen = not self._frozen and self._shown is not None
        elif key == ord("s") and self._save is not None and self._shown is not None:
            try:
                self._say(f"saved {self._save(self._shown).name}")
            except CkdError as error:
                self._say(str(error))

    def _say(self, message: str) -> None:
        self._message = message
        self._message_until_s = time.monotonic() + _MESSAGE_S


def window_picture(
    status: Status, shown: Shown | None, *, frozen: bool, message: str
) -> NDArray[np.uint8]:
    """The overlay with the panel at its right, uint8 RGB HWC.

    Args:
        status: of source and loop.
        shown: the frame to show; None before the first.
        frozen: True if the picture is frozen.
        message: a line to the user, or an empty text.
    """
    image_HWC = np.full((540, 720, 3), 12, np.uint8) if shown is None else shown.overlay_HWC
    if (scale := _MIN_HEIGHT_PX / image_HWC.shape[0]) > 1:
        image_HWC = np.asarray(cv2.resize(image_HWC, None, fx=scale, fy=scale), dtype=np.uint8)
    height, width = image_HWC.shape[:2]
    canvas_HWC = np.full((height, width + PANEL_WIDTH_PX, 3), _BACK, np.uint8)
    canvas_HWC[:, :width] = image_HWC
    live = status.state == "live" and not frozen
    if status.state != "live":
        canvas_HWC[:, :width] //= 2  # what is still shown is old
    x = width + 20
    headline = "frozen" if frozen else status.state
    _write(canvas_HWC, headline, x, 36, 0.7, _ACCENT if live else _WARNING)
    beneath = status.detail or (f"not in the journal: {status.journal}" if status.journal else "")
    for i, line in enumerate(wrapped(beneath, 40)[:2]):
        _write(canvas_HWC, line, x, 58 + 16 * i, 0.4, _GREY)
    y = 104
    if shown is not None:
        y = _write_finding(canvas_HWC, shown.finding, x, y)
    statistics = status.statistics
    latency_ms = statistics.latency_p50_ms
    lines = [
        f"latency {latency_ms:.0f} ms" if latency_ms is not None else "latency -",
        f"{statistics.fps:.1f} frames/s" if statistics.fps is not None else "- frames/s",
        f"{statistics.num_analysed} analysed, {statistics.num_dropped} dropped",
        *wrapped(faults_shown(statistics.faults), 44),
    ]
    warning = "" if status.recording is None else status.recording.warning
    said = [*wrapped(warning, 44), *wrapped(message, 44)]
    footer = [*said, "space freeze, s save, q quit", *wrapped(sentence_shown("research"), 52)]
    top = height - 14 - 16 * (len(footer) - 1)
    for line in lines[: max(0, (top - 10 - y) // 20)]:  # what is found goes first
        y += 20
        _write(canvas_HWC, line, x, y, 0.4, _GREY)
    for row, line in enumerate(footer):
        colour = _WARNING if row < len(said) else _GREY
        _write(canvas_HWC, line, x, top + 16 * row, 0.35, colour)
    return canvas_HWC


def _write_finding(canvas_HWC: NDArray[np.uint8], finding: Finding, x: int, y: int) -> int:
    """Write a finding from a row on, the decision first; gives the row below it."""
    decision = finding.decision
    plain = _GREY if finding.is_held else _WHITE
    colour = _WARNING if decision is not None and decision.refer and not finding.is_held else plain
    for sentence in finding.coaching:
        for line in wrapped(sentence, 34):
            _write(canvas_HWC, line, x, y, 0.5, _ACCENT)
            y += 20
    y += 10 * bool(finding.coaching)
    for line in wrapped(finding.headline, 27):
        _write(canvas_HWC, line, x, y, 0.6, colour)
        y += 24
    if decision is not None:
        for line in wrapped(finding.second, 42):
            _write(canvas_HWC, line, x, y, 0.42, plain)
            y += 18
    y += 4
    for sentence in finding.beneath:
        for line in wrapped(sentence, 44):
            _write(canvas_HWC, line, x, y, 0.4, plain)
            y += 16
        y += 4
    y += 10
    for label, probability in finding.probabilities.items():
        if y > canvas_HWC.shape[0] - _BELOW_BARS_PX:  # of many labels the last do not fit
            break
        _bar(canvas_HWC, label, probability, x, y)
        y += 30
    for line in wrapped(finding.basis_shown, 44):
        _write(canvas_HWC, line, x, y, 0.38, _GREY)
        y += 16
    return y


def _bar(canvas_HWC: NDArray[np.uint8], label: str, share: float, x: int, y: int) -> None:
    length = PANEL_WIDTH_PX - 40
    _write(canvas_HWC, label, x, y, 0.45, _WHITE)
    percent = percent_shown(share)
    (text_width, _), _ = cv2.getTextSize(percent, _FONT, 0.45, 1)
    _write(canvas_HWC, percent, x + length - text_width, y, 0.45, _WHITE)
    for part, colour in ((1.0, _TRACK), (share, _ACCENT)):
        cv2.rectangle(canvas_HWC, (x, y + 6), (x + round(length * part), y + 11), colour, -1)


def _write(
    canvas_HWC: NDArray[np.uint8],
    text: str,
    x: int,
    y: int,
    scale: float,
    colour: tuple[int, int, int],
) -> None:
    cv2.putText(canvas_HWC, drawable(text), (x, y), _FONT, scale, colour, 1, cv2.LINE_AA)

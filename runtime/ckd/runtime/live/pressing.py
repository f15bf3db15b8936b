"""The handle's button as a view: each press saves one frame, as the save button does."""

from collections.abc import Callable

from ckd.runtime.closing import Closing
from ckd.runtime.live.saving import FrameWriter
from ckd.runtime.live.view import Saver, Shown, Status
from ckd.runtime.unit import Handle


class ButtonView(Closing):
    """Saves the first frame that was taken after a press.

    Args:
        handle: counts the presses.
        save: writes a frame.
        say: told what was saved, or why it was not.
    """

    closed = False  # a button ends nothing

    def __init__(self, handle: Handle, save: Saver, say: Callable[[str], None]) -> None:
        self._handle = handle
        self._writer = FrameWriter("button", save, say)

    def update(self, status: Status, shown: Shown | None) -> None:
        """Save the frame if it answers a press; a press waits for a frame with a finding."""
        if shown is not None and shown.frame.unit is not None and shown.frame.unit["pressed"]:
            self._handle.captured()
            self._writer.put(shown)

    def close(self) -> None:
        """Wait until all is written. May be called twice."""
        self._writer.close()

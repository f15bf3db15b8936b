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
        """Save the frame if it answers a press; a press waits for a frame with a finding.

        The next frame was taken before this one is here, and so while the same press waited.
        """
        about = None if shown is None else shown.frame.unit
        if shown is not None and about is not None and about["pressed"] and self._handle.answer():
            self._writer.put(shown)

    def close(self) -> None:
        """Wait until all is written. May be called twice."""
        self._writer.close()

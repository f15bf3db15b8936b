"""What the person at the handle does: presses to capture, switches the light."""

import threading
from typing import Any

from ckd.runtime.unit.unit import Purpose, Unit


class Debounce:
    """Tells presses from the bouncing of a contact.

    Args:
        window_s: a press counts once the contact has been at rest for so long.
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._last_s: float | None = None

    def is_press(self, time_s: float, *, is_down: bool) -> bool:
        """Whether a change of the contact is a press that counts."""
        last_s, self._last_s = self._last_s, time_s
        at_rest = last_s is None or not 0 <= time_s - last_s < self._window_s
        return is_down and at_rest


class Handle:
    """The state of a unit's buttons and light; for several threads.

    Args:
        unit: whose light it is.
    """

    def __init__(self, unit: Unit) -> None:
        self._lock = threading.Lock()
        self._is_polarised = unit.polarised
        self._num_waiting = 0
        self._contacts: dict[Purpose, Debounce] = {
            "capture": Debounce(unit.debounce_ms / 1e3),
            "polarised": Debounce(unit.debounce_ms / 1e3),
        }

    @property
    def state(self) -> dict[str, Any]:
        """For JSON: whether light is ``polarised``, and ``pressed``, a capture asked for."""
        with self._lock:
            return {"polarised": self._is_polarised, "pressed": self._num_waiting > 0}

    def change(self, purpose: Purpose, time_s: float, *, is_down: bool) -> bool:
        """A contact opened or closed; gives whether that was a press.

        A light whose state is not known is taken for polarised after the first press.
        """
        with self._lock:
            if not self._contacts[purpose].is_press(time_s, is_down=is_down):
                return False
            if purpose == "capture":
                self._num_waiting += 1
            else:
                self._is_polarised = not self._is_polarised
            return True

    def answer(self) -> bool:
        """Whether a press waits, which then does so no longer: a frame is to be saved for it."""
        with self._lock:
            is_waiting = self._num_waiting > 0
            self._num_waiting -= is_waiting
            return is_waiting

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
        self._num_taken = 0
        self._in_flight: list[int] = []  # frames, by number, that are to answer a press
        self._contacts: dict[Purpose, Debounce] = {
            "capture": Debounce(unit.debounce_ms / 1e3),
            "polarised": Debounce(unit.debounce_ms / 1e3),
        }

    def stamp(self) -> dict[str, Any]:
        """For the JSON of a frame that is taken now: whether light is ``polarised``, and whether a
        press asked for this frame (``pressed``), which is so of one frame for each press.

        A frame is taken while the one before is made a finding of. Of those before that all is
        known: one that has not answered its press has no finding, and the press waits for another.
        """
        with self._lock:
            self._num_taken += 1
            self._in_flight = [n for n in self._in_flight if n >= self._num_taken - 1]
            is_pressed = self._num_waiting > len(self._in_flight)
            if is_pressed:
                self._in_flight.append(self._num_taken)
            return {"polarised": self._is_polarised, "pressed": is_pressed}

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

    def captured(self) -> None:
        """One press was answered: the first frame that was stamped for one is being saved."""
        with self._lock:
            self._num_waiting -= 1
            self._in_flight = self._in_flight[1:]

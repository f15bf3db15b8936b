"""Ctrl-C, SIGTERM and SIGHUP end a command alike: it cleans up, and its exit code says by which."""

import contextlib
import os
import signal
from types import FrameType
from typing import ClassVar, Final

#: Exit code of a process that a signal ended: this much more than its number (POSIX shells).
_CODE: Final = 128
#: The signal that ends a process although it still cleans up.
_ENOUGH: Final = 3


class Signals:
    """Hears the signals that ask a process to end.

    The first raises `KeyboardInterrupt` in the main thread, so that `with` blocks and `finally`
    clean up: service managers and `timeout` send SIGTERM, a terminal that is closed SIGHUP. Those
    that follow do not break into that, as half a clean-up is worse than none; the third one ends
    the process at once, which leaves no file half written either (`ckd.contract.whole_file`).
    A signal that was ignored before, as SIGHUP is under `nohup`, stays ignored.
    """

    #: Whether one has come in this process.
    has_heard: ClassVar[bool] = False

    def __init__(self) -> None:
        self.first: signal.Signals | None = None
        self._count = 0

    def listen(self) -> None:
        """Hear the signals from now on."""
        Signals.has_heard = False
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._hear)

    @property
    def exit_code(self) -> int:
        """The exit code of a command that was ended: 130 by Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
        return _CODE + (signal.SIGINT if self.first is None else self.first)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self.first is None:
            self.first, Signals.has_heard = signal.Signals(number), True
            raise KeyboardInterrupt
        if self._count >= _ENOUGH:
            os._exit(_CODE + number)
        with contextlib.suppress(OSError):  # the terminal that was closed sends SIGHUP twice
            os.write(2, b"cleaning up; once more ends this at once\n")  # print may be under way

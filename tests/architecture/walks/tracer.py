"""Records which rooms a piece of work goes through, and which functions it enters them by."""

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any

from tests.architecture.walks.rooms import Room, room_of
from tests.architecture.walks.rules import is_a_step, way_of


@dataclass(slots=True)
class Visit:
    """All that one visit to a room has another room do: the functions it enters, and from there.

    Attributes:
        room: that is visited.
        way: "down", "pull", "interface", "tell" or "up".
        functions: by which it is entered, in the order of the first call.
        visits: from here, in the order of the first call.
    """

    room: Room
    way: str = "down"
    functions: dict[str, None] = field(default_factory=dict)
    visits: dict[tuple[str, str], "Visit"] = field(default_factory=dict)


@dataclass(slots=True)
class _Call:
    frame: FrameType
    visit: Visit | None
    caller: Visit | None = None  # set where what the function gives back decides
    name: str = ""


#: How the names of threads begin that do a part of the walk, and are recorded with it.
_PARTNERS = "networks"


class _Thread(threading.local):
    """What is under way in a thread."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        self.importing: FrameType | None = None


class Tracer:
    """A context in which the calls of this thread are recorded, and of those that help it.

    What runs while a module is imported is left out.

    Attributes:
        walk: the visits; its own room is that of the first call.
        returns: calls that go back up, as "lower room -> higher room: function".
    """

    def __init__(self) -> None:
        self.walk: Visit | None = None
        self.returns: dict[str, None] = {}
        self._thread = _Thread()
        self._main = self._thread.calls

    def __enter__(self) -> "Tracer":
        threading.setprofile(self._begin)
        sys.setprofile(self._event)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _begin(self, *event: Any) -> None:
        """The first event of another thread."""
        is_partner = threading.current_thread().name.startswith(_PARTNERS)
        sys.setprofile(self._event if is_partner else None)

    def _event(self, frame: FrameType, event: str, result: Any) -> None:
        if event not in ("call", "return") or (room := room_of(frame.f_code.co_filename)) is None:
            return
        thread = self._thread
        if thread.importing is not None:
            if event == "return" and frame is thread.importing:
                thread.importing = None
        elif event == "call" and frame.f_code.co_name == "<module>":
            thread.importing = frame
        elif event == "call":
            thread.calls.append(self._entered(frame, room))
        else:
            self._left(frame, result)

    def _entered(self, frame: FrameType, room: Room) -> _Call:
        calls = self._thread.calls
        caller = calls[-1].visit if calls else self._helped(room)
        name = _name_of(frame.f_code)
        if room.aside or not is_a_step(frame):
            return _Call(frame, caller)
        if caller is None:
            self.walk = caller = self.walk or Visit(room)
        if room is caller.room:
            came_from = calls and room_of(calls[-1].frame.f_code.co_filename)
            if came_from is not room:  # through a room aside, as a command through the console
                caller.functions[name] = None
            return _Call(frame, caller)
        way = way_of(frame, caller.room, room)
        visit = caller.visits.setdefault((room.name, way), Visit(room, way))
        visit.functions[name] = None
        call = _Call(frame, visit, caller if way == "tell" else None, name)
        if way == "tell" and frame.f_code.co_name == "__init__":  # a class was handed down
            self._note_return(call)
        return call

    def _helped(self, room: Room) -> Visit | None:
        """The visit that another thread, which begins in a room, helps the main thread with."""
        visits = (call.visit for call in reversed(self._main))
        return next((visit for visit in visits if visit is not None and visit.room is room), None)

    def _left(self, frame: FrameType, result: object) -> None:
        calls = self._thread.calls
        if not any(call.frame is frame for call in calls):
            return  # it was entered before recording began
        while (call := calls.pop()).frame is not frame:
            pass
        if call.caller is not None and result is not None:
            self._note_return(call)

    def _note_return(self, call: _Call) -> None:
        assert call.caller is not None
        assert call.visit is not None
        call.visit.way = "up"
        self.returns[f"{call.caller.room.name} -> {call.visit.room.name}: {call.name}"] = None


def _name_of(code: CodeType) -> str:
    name = code.co_qualname.replace(".<locals>", "").removesuffix(".<genexpr>")
    return name.removesuffix(".__init__").replace(".__call__", "()")


def record(work: Callable[[], object]) -> Tracer:
    """Do a piece of work and give what was recorded of it."""
    with Tracer() as tracer:
        try:
            work()
        except SystemExit as end:
            if end.code not in (0, None):
                raise
    return tracer

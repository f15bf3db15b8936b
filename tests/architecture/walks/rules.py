"""What the frame of a call tells: how it got to its room, and whether it counts as a call.

Imports run downwards only, so a room can call one that is not below it only through something that
it was handed. Three kinds of such calls leave the work where it is, and are allowed:

- pull: the room takes the next item of a generator that it was handed;
- interface: it calls a method that a class or protocol at or below its own floor declares;
- tell: it calls a function that gives nothing back, such as one that moves a progress bar.

Every other call that goes up asks a higher room to do a part of a lower room's work.
"""

import inspect
import sys
from functools import cache
from types import FrameType

from tests.architecture.walks.rooms import Room, room_of
from typing_extensions import is_protocol


def way_of(frame: FrameType, caller: Room, room: Room) -> str:
    """How a call gets from one room to another: "down", "pull", "interface" or "tell".

    A call that seems to tell asks, if it gives something back in the end; only then is that known.
    """
    if room.floor < caller.floor:
        return "down"
    if frame.f_code.co_flags & inspect.CO_GENERATOR:
        return "pull"
    owner = _class_of(frame)
    for base in (*owner.__mro__[1:], *_protocols_of(owner)):
        home = _home(base)
        if home is not None and home.floor <= caller.floor and frame.f_code.co_name in vars(base):
            return "interface"
    return "tell"


def is_a_step(frame: FrameType) -> bool:
    """Whether a call into another room counts.

    These do not: a list comprehension, which has no frame from Python 3.12 on; a property; a method
    that an object inherits from a class in another room, such as the end of a `with` block.
    """
    name, owner = frame.f_code.co_name, _class_of(frame)
    member = inspect.getattr_static(owner, name, None)
    function = getattr(member, "fget", None) or getattr(member, "__func__", member)
    if getattr(function, "__code__", None) is frame.f_code:
        inherited = _home(owner) not in (None, room_of(frame.f_code.co_filename))
        return not inherited and not isinstance(member, property)
    return name not in ("<listcomp>", "<setcomp>", "<dictcomp>")


def _home(owner: type) -> Room | None:
    return room_of(getattr(sys.modules.get(owner.__module__), "__file__", None) or "")


def _class_of(frame: FrameType) -> type:
    owner = frame.f_locals.get(next(iter(frame.f_code.co_varnames), ""))
    return owner if isinstance(owner, type) else type(owner)


@cache
def _protocols_of(owner: type) -> list[type]:
    """Our protocols that a class has all methods of, whether or not it names them as bases."""
    ours = [module for name, module in sys.modules.copy().items() if name.startswith("ckd.")]
    classes = {one for module in ours for one in vars(module).values() if inspect.isclass(one)}
    protocols = [one for one in classes if is_protocol(one)]
    return [one for one in protocols if _methods(one) <= {*dir(owner)}]


def _methods(protocol: type) -> set[str]:
    return {name for name in vars(protocol) if not name.startswith("_")}

"""Draws a walk as SVG: one line for each visit, a lift beside it that shows the floors."""

import textwrap
from collections.abc import Iterator
from html import escape

from tests.architecture.walks.rooms import Room
from tests.architecture.walks.tracer import Visit

WIDTH_PX = 840
LINE_PX = 16
CHARACTER_PX = 6.7
FLOOR_PX = 13
COLOURS = {
    "down": "#2a6f97", "pull": "#6a994e", "interface": "#8d6a9f", "tell": "#bc6c25", "up": "#c1121f"
}  # fmt: skip
WORDS = {
    "pull": "pulled", "interface": "by its interface", "tell": "told", "up": "ASKED FROM BELOW"
}  # fmt: skip


def svg(walk: Visit, title: str) -> str:
    """The whole figure. Floors that the walk visits lie side by side, the highest on the left."""
    floors = sorted({visit.room.floor for visit, _, _ in _rows(walk)}, reverse=True)
    text_px = 20 + FLOOR_PX * len(floors)

    def lift_px(room: Room) -> int:
        return 16 + FLOOR_PX * floors.index(room.floor)

    shapes, places, y = [], dict[int, int](), 40
    for visit, parent, depth in _rows(walk):
        x, colour = text_px + 14 * depth, COLOURS[visit.way]
        places[id(visit)] = y
        if parent is not None:
            start, dash = places[id(parent)], "" if visit.way == "down" else ' stroke-dasharray="3"'
            line = f"M{lift_px(parent.room)} {start}V{y - 4}H{lift_px(visit.room)}"
            shapes.append(f'<path d="{line}" stroke="{colour}"{dash}/>')
        shapes.append(f'<circle cx="{lift_px(visit.room)}" cy="{y - 4}" r="4" fill="{colour}"/>')
        room = visit.room.name + (f" ({WORDS[visit.way]})" if visit.way in WORDS else "")
        shapes.append(f'<text x="{x}" y="{y}" class="room" style="fill:{colour}">{room}</text>')
        wide = int((WIDTH_PX - x - 20) / CHARACTER_PX)
        functions = ", ".join(visit.functions)
        for line in textwrap.wrap(functions, wide, break_long_words=False, break_on_hyphens=False):
            y += LINE_PX
            shapes.append(f'<text x="{x}" y="{y}">{escape(line)}</text>')
        y += LINE_PX + 6
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {y}" '
            f'width="{WIDTH_PX}" height="{y}" font-family="monospace" font-size="11">',
            "<style>text{fill:#333} .room{font-weight:bold;font-size:12px} path{fill:none}</style>",
            f'<rect width="{WIDTH_PX}" height="{y}" rx="6" fill="#fbfbfb"/>',
            f'<text x="12" y="18" class="room">{escape(title)}</text>',
            *shapes,
            "</svg>\n",
        ]
    )


def _rows(
    visit: Visit, parent: Visit | None = None, depth: int = 0
) -> Iterator[tuple[Visit, Visit | None, int]]:
    yield visit, parent, depth
    for below in visit.visits.values():
        yield from _rows(below, visit, depth + 1)

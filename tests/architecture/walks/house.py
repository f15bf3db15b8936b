"""Draws the house as SVG: its floors, and the rooms on each of them."""

from html import escape
from itertools import groupby

from tests.architecture.walks.rooms import rooms

WIDTH_PX = 840
FLOOR_PX = 30


def svg() -> str:
    """One box for each room; a room may import from rooms that lie lower, and from no other."""
    shapes, y = [], 12
    for _, parts in groupby(rooms().values(), key=lambda room: room.floor[0]):
        listed = list(parts)
        names = [room.name for room in listed if "." not in room.name]
        inner = [room for room in listed if "." in room.name]
        tall = FLOOR_PX * max(1, len({room.floor for room in inner}))
        for place, name in enumerate(names):
            wide = (WIDTH_PX - 24) / len(names)
            shapes.append(_box(12 + wide * place, y, wide - 4, tall, "#e8eef3"))
            shapes.append(f'<text x="{22 + wide * place:.0f}" y="{y + 19}">{escape(name)}</text>')
        for number, (_, side_by_side) in enumerate(groupby(inner, key=lambda room: room.floor)):
            layer = [room.name.partition(".")[2] for room in side_by_side]
            for place, name in enumerate(layer):
                wide = (WIDTH_PX - 136) / len(layer)
                x, top = 120 + wide * place, y + number * FLOOR_PX + 3
                shapes.append(_box(x, top, wide - 4, FLOOR_PX - 6, "#cfdfe9"))
                shapes.append(f'<text x="{x + 10:.0f}" y="{top + 16}">{escape(name)}</text>')
        y += tall + 6
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX} {y + 6}" '
        f'width="{WIDTH_PX}" height="{y + 6}" font-family="monospace" font-size="12">'
    )
    ground = f'<rect width="{WIDTH_PX}" height="{y + 6}" rx="6" fill="#fbfbfb"/>'
    return "\n".join([head, ground, *shapes, "</svg>\n"])


def _box(x: float, y: float, wide: float, tall: float, colour: str) -> str:
    size = f'width="{wide:.0f}" height="{tall:.0f}"'
    return f'<rect x="{x:.0f}" y="{y:.0f}" {size} rx="4" fill="{colour}"/>'

"""The model card of a bundle: Markdown, of which each part tells of one thing that was done to it.

Parts begin with a title of the second level. Whoever does a thing again replaces its own part and
leaves those of others as they are.
"""

from collections.abc import Mapping
from typing import Final

#: Name of the file in a bundle.
MODEL_CARD: Final = "model_card.md"


def with_part(card: str, title: str, text: str) -> str:
    """A card with a part of that title, in the place of an earlier one or at the end.

    Args:
        card: text of the whole card.
        title: as in "Limits", without "##".
        text: of the part, without its title.
    """
    begin, end = _place(card, title)
    lines = card.splitlines()
    before = "\n".join(lines[:begin]).rstrip()
    part = f"## {title}\n\n{text.strip()}"
    after = "\n".join(lines[end:]).strip()
    return "\n\n".join(filter(None, (before, part, after))) + "\n"


def provenance_rows(provenance: Mapping[str, object]) -> list[tuple[str, str]]:
    """A bundle's provenance for people: each fact's name and value, in one line whatever it is."""
    return [
        (
            name.replace("_", " "),
            ", ".join(f"{part} {one}" for part, one in value.items())
            if isinstance(value, Mapping)
            else str(value),
        )
        for name, value in provenance.items()
    ]


def without_part(card: str, title: str) -> str:
    """A card without its part of that title; the card itself if it has none."""
    begin, end = _place(card, title)
    lines = card.splitlines()
    if begin == len(lines):
        return card
    parts = ("\n".join(lines[:begin]).rstrip(), "\n".join(lines[end:]).strip())
    return "\n\n".join(filter(None, parts)) + "\n"


def _place(card: str, title: str) -> tuple[int, int]:
    """The line of the part's title and the one after its end; both after the card's end if none."""
    lines = card.splitlines()
    titles = [number for number, line in enumerate(lines) if line.startswith("## ")]
    begin = next((n for n in titles if lines[n] == f"## {title}"), len(lines))
    return begin, next((n for n in titles if n > begin), len(lines))

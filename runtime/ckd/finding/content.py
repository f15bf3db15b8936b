"""Reads what a section of a bundle holds: keys, numbers and texts, each checked as it enters."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from ckd.contract.errors import BundleError
from ckd.contract.spec import Section
from ckd.finding.answers import AnswerSource

#: Numbers of sections are far smaller; sums and products of such numbers stay finite.
LARGEST = 1e6
#: Of a foreign name so many characters are shown, and of so many names.
_SHOWN, _LISTED = 40, 10


class Declaring(AnswerSource, Protocol):
    """What has sections: a `CascadeSpec`, or networks in training with sections beside them."""

    @property
    def name(self) -> str:
        """Name of the bundle, for messages."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every output by its tensor's name, batch axis included."""

    @property
    def sections(self) -> Mapping[str, Section]:
        """The sections, by name."""


class SectionContent:
    """The content of a section, or of an object in it, with the errors that name it.

    Args:
        section: name of the section.
        content: what JSON gave.
        place: where in the section this stands, for messages.
    """

    def __init__(self, section: str, content: Any, place: str = "") -> None:
        self._section, self._place = section, place
        if not isinstance(content, dict):
            raise self.wrong(f"{place or 'its content'} is no object")
        self._content: Mapping[str, Any] = content

    @classmethod
    def of(cls, spec: Declaring, section: str, keys: Iterable[str]) -> "SectionContent | None":
        """The content of a bundle's section, which holds just these keys; None without it.

        Raises:
            BundleError: it holds other keys.
        """
        if section not in spec.sections:
            return None
        content = cls(section, spec.sections[section].content)
        content.expect(keys)
        return content

    def wrong(self, what: str) -> BundleError:
        """The error that says what is wrong with the section."""
        return BundleError(
            f"cascade.json: section {self._section}: {what}; `ckd-export sections` writes one that "
            "fits"
        )

    def keys(self) -> tuple[str, ...]:
        """Names of what it holds."""
        return tuple(self._content)

    def expect(self, keys: Iterable[str]) -> None:
        """Raise `BundleError` if it does not hold just these keys."""
        if sorted(self._content) != sorted(expected := list(keys)):
            where = self._place or "it"
            held = _listed(map(str, self._content)) or "nothing"
            raise self.wrong(f"{where} holds {held}, expected {', '.join(expected) or 'nothing'}")

    def part(self, key: str) -> "SectionContent":
        """The object of a key."""
        return SectionContent(self._section, self._content[key], self._at(key))

    def is_null(self, key: str) -> bool:
        """Whether a key holds null."""
        return self._content[key] is None

    def text(self, key: str, known: Iterable[str] | None = None) -> str:
        """The text of a key, one of ``known`` where that is given."""
        value = self._content[key]
        if not isinstance(value, str) or not value.isprintable():
            raise self.wrong(f"{self._at(key)} is {str(value)[:40]!r}, expected a text")
        if known is not None and value not in (names := list(known)):
            raise self.wrong(f"{self._at(key)} is {value!r}, expected one of {', '.join(names)}")
        return value

    def number(self, key: str, low: float = -LARGEST, high: float = LARGEST) -> float:
        """The number of a key, within both bounds."""
        value = self._content[key]
        if type(value) not in (int, float) or not low <= value <= high:
            raise self.wrong(
                f"{self._at(key)} is {str(value)[:40]!r}, expected a number from {low:g} to "
                f"{high:g}"
            )
        return float(value)

    def flag(self, key: str) -> bool:
        """Whether a key holds true rather than false."""
        value = self._content[key]
        if not isinstance(value, bool):
            raise self.wrong(f"{self._at(key)} is {str(value)[:40]!r}, expected true or false")
        return value

    def count(self, key: str) -> int:
        """The whole number of a key, 0 or more."""
        value = self._content[key]
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise self.wrong(f"{self._at(key)} is {str(value)[:40]!r}, expected a whole number")
        return value

    def _at(self, key: str) -> str:
        return f"{key} of {self._place}" if self._place else key


def _listed(names: Iterable[str]) -> str:
    """Names for a message, which a file may make long, and many."""
    known = list(names)
    shown = [
        name if name.isprintable() and len(name) <= _SHOWN else repr(name[:_SHOWN])
        for name in known[:_LISTED]
    ]
    if others := len(known) - len(shown):
        shown.append(f"and {others} more")
    return ", ".join(shown)

"""Base class of objects that a ``with`` block closes at its end."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self", bound="Closing")  # typing.Self is too new for Python 3.10


class Closing(ABC):
    """A ``with`` block gets the object itself, and calls `close` at its end."""

    @abstractmethod
    def close(self) -> object:
        """Release everything; a second call does nothing."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

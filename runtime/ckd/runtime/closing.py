"""A `with` block for whatever is to be closed at its end."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

_Self = TypeVar("_Self", bound="Closing")  # typing.Self is too new for Python 3.10


class Closing(ABC):
    """``with`` gives the object itself and calls `close` in the end."""

    @abstractmethod
    def close(self) -> object:
        """Let go of everything held; a second call does nothing."""

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

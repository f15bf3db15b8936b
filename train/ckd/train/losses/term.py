"""The interface of a loss: a setting of the recipe that can be called on a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Number of training images of each label, and of all training images.

    The total may exceed the sum if labels do not exclude each other: an image may be of none.
    """

    per_label: tuple[int, ...]
    total: int


class Term(Protocol):
    """One term of a stage's loss. The loss is the sum of its terms times their ``weight``."""

    @property
    def name(self) -> str:
        """Name in the logs, and in the option `--set`."""

    @property
    def weight(self) -> float:
        """Factor of the term in the sum."""

    @property
    def needs(self) -> Literal["mask", "label"] | None:
        """What a sample must have besides its image; None if the image suffices."""

    def tensors(self) -> tuple[str, ...]:
        """Names of the system's tensors that the term is computed from."""

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], classes: ClassCounts, /
    ) -> Tensor:
        """The unweighted loss of a batch, a scalar.

        Args:
            tensors: those that `tensors` names, of B rows each.
            batch: ``image``, ``index`` and ``turn`` (quarter turns of each row's view), and
                ``mask`` or ``label`` if the term needs them.
            classes: of the training images.
        """


class OutputTerm:
    """Base of the losses that compare one tensor of the system, ``output``, with the truth."""

    __slots__ = ()
    output: str

    def tensors(self) -> tuple[str, ...]:
        """The name of the one tensor."""
        return (self.output,)


class TeacherTerm:
    """Base of the losses that compare a tensor of the student with one of the teacher."""

    __slots__ = ()
    needs: ClassVar[None] = None
    student: str
    teacher: str

    def tensors(self) -> tuple[str, ...]:
        """The names of both tensors."""
        return (self.student, self.teacher)

"""What a loss is to the trainer: a setting of the recipe that can be called on a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor


@dataclass(frozen=True, slots=True)
class ClassCounts:
    """Training images of each label, and of all: where labels do not exclude each other, an image
    may be of none.
    """

    per_label: tuple[int, ...]
    total: int


class Term(Protocol):
    """One term of a stage's loss, times its ``weight`` added to the others."""

    @property
    def name(self) -> str:
        """Under which it is logged, and by which `--set` finds it."""

    @property
    def weight(self) -> float:
        """Factor in the sum."""

    @property
    def needs(self) -> Literal["mask", "label"] | None:
        """What of a sample it cannot do without; None if the image is enough."""

    def tensors(self) -> tuple[str, ...]:
        """Names of the system's tensors that it is computed from."""

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], classes: ClassCounts, /
    ) -> Tensor:
        """The unweighted loss of a batch, a scalar.

        Args:
            tensors: those asked for, of B rows each.
            batch: ``image``, ``index`` and ``turn`` (quarter turns of each row's view), with
                ``mask`` and ``label`` where asked for.
            classes: of the training images.
        """

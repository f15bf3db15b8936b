"""The setting of a stage that averages weights instead of training any."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, PositiveInt

from ckd.train.settings import STRICT, StageName


@dataclass(frozen=True, slots=True, kw_only=True)
class Soup:
    """The average of the weights of earlier stages, its members (Wortsman et al. 2022).

    The members must have started from the same weights: the average of networks that started from
    different ones is ruined. Afterwards the running statistics of batch normalisation are estimated
    anew on training views of the first member, since those of the members do not fit.

    Attributes:
        nodes: names of the networks, as the members have them.
        of: stages to average, at least two.
        select: "all" averages all of them. "best" is the greedy soup: the members are tried from
            the best to the worst, and one that lowers the figure is left out. Validation images
            choose then, as they do for a stage that keeps its best epoch.
        batches: of the first member's size, that the running statistics are estimated on; one epoch
            at most.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    # What a stage that trains has, and a soup has not: no loss, no truth, no tensors.
    losses: ClassVar[tuple[()]] = ()
    needs: ClassVar[frozenset[str]] = frozenset()

    name: StageName
    nodes: tuple[str, ...]
    of: Annotated[tuple[str, ...], Field(min_length=2)]
    select: Literal["all", "best"] = "all"
    batches: PositiveInt = 32

    def __post_init__(self) -> None:
        if len(set(self.of)) < len(self.of):
            raise ValueError(f"stage {self.name} averages {max(self.of, key=self.of.count)} twice")

    def tensors(self) -> tuple[str, ...]:
        """None: nothing is trained."""
        return ()

    def same_networks(self) -> tuple[str, ...]:
        """The members."""
        return self.of

    def rests_on(self) -> tuple[str, ...]:
        """The members."""
        return self.of

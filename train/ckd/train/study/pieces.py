"""The pieces of a study: every attempt on every fold, and which of them share stages."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from ckd.contract.errors import UsageError
from ckd.train.recipes.recipe import Recipe
from ckd.train.study.setting import Attempt, Study


@dataclass(frozen=True, slots=True)
class Piece:
    """An attempt on one fold, or on all images if ``fold`` is None."""

    attempt: Attempt
    fold: int | None

    @property
    def fold_name(self) -> str:
        """The fold as it stands in tables."""
        return "all" if self.fold is None else str(self.fold)

    def run(self, out: Path) -> Path:
        """The folder of the run."""
        name = "all" if self.fold is None else f"fold{self.fold}"
        return out / self.attempt.name / name


def pieces_of(study: Study, winner: str | None) -> list[Piece]:
    """What is to be trained, in order: fold by fold, so that all candidates are seen early.

    Raises:
        UsageError: ``winner`` is no candidate.
    """
    names = [candidate.name for candidate in study.candidates]
    if winner is not None and winner not in names:
        raise UsageError(f"no candidate {winner!r}; expected one of {', '.join(names)}")
    attempts = study.attempts()
    pieces = [Piece(attempt, fold) for fold in study.decide_on for attempt in attempts]
    if winner is not None:
        first = next(attempt for attempt in attempts if attempt.candidate == winner)
        others = [fold for fold in range(study.folds) if fold not in study.decide_on]
        pieces += [Piece(first, fold) for fold in (*others, None)]
    return pieces


def shared_stages(ours: Recipe, theirs: Recipe) -> tuple[str, ...]:
    """Names of the first stages that two recipes train alike, on the same images."""
    same = ("system", "image_size", "precision", "tasks", "seed")
    if any(getattr(ours, name) != getattr(theirs, name) for name in same):
        return ()
    pairs = zip(ours.stages, theirs.stages, strict=False)
    return tuple(stage.name for stage, other in takewhile(lambda pair: pair[0] == pair[1], pairs))


def sharing(piece: Piece, before: Sequence[Piece]) -> tuple[Piece | None, tuple[str, ...]]:
    """Of the earlier pieces of that fold, the one that shares most stages, and their names."""
    shared = [
        (other, shared_stages(piece.attempt.recipe, other.attempt.recipe))
        for other in before
        if other.fold == piece.fold
    ]
    best, names = max(shared, key=lambda pair: len(pair[1]), default=(None, ()))
    return (best if names else None), names

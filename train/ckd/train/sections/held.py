"""The answers of all folds in one table, and parts of it to count on what was not fitted on.

Suffixes: N photographs, K labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from ckd.contract.errors import InputError
from ckd.train.evaluation.held_out import NO_LABEL
from ckd.train.sections.answered import Fold

Numbers = NDArray[np.float64]
#: Every figure of the card is counted on a fifth of the photographs by what was fitted on the rest.
TURNS = 5


@dataclass(frozen=True, slots=True)
class Held:
    """Photographs with a diagnosis, by the networks that were not trained on them.

    Attributes:
        labels: class names, in the order of the logits.
        is_exclusive: a photograph is of exactly one label.
        logits_NK: float32.
        label_N: number of the true label; K for none of them.
        source_N: photographs of one lesion have one number.
        agreement_N: of both masks, see `Finding.quality`; nan where no lesion is outlined.
        distance_N: from the fold's training photographs; nan where it has no features.
    """

    labels: tuple[str, ...]
    is_exclusive: bool
    logits_NK: NDArray[np.float32]
    label_N: NDArray[np.int64]
    source_N: NDArray[np.int64]
    agreement_N: Numbers
    distance_N: Numbers

    @classmethod
    def of(
        cls, folds: Sequence[Fold], agreement: Sequence[Numbers], distance: Sequence[Numbers]
    ) -> "Held":
        """The table of some folds.

        Args:
            folds: with their kept answers.
            agreement: for each fold, of each photograph that it held out.
            distance: likewise.

        Raises:
            InputError: a fold has no class logits, or its labels are others than the first one's.
        """
        first, logits, sources = folds[0].answers.labels, [], []
        known = [fold.answers.label_N != NO_LABEL for fold in folds]
        for fold, known_N in zip(folds, known, strict=True):
            answers = fold.answers
            if answers.class_logits_NK is None:
                raise InputError(f"{fold.name}: its networks do not classify; nothing to decide on")
            if answers.labels != first:
                raise InputError(
                    f"{fold.name}: labels {', '.join(answers.labels)}, and {folds[0].name} has "
                    f"{', '.join(first)}; give folds of one recipe"
                )
            logits.append(answers.class_logits_NK[known_N])
            sources += [s.group or s.id for s, k in zip(fold.held_out, known_N, strict=True) if k]

        def joined(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
            return np.concatenate([part[rows] for part, rows in zip(parts, known, strict=True)])

        return cls(
            labels=first,
            is_exclusive=folds[0].system.outputs.exclusive,
            logits_NK=np.concatenate(logits),
            label_N=joined([fold.answers.label_N for fold in folds]).astype(np.int64),
            source_N=np.unique(sources, return_inverse=True)[1].astype(np.int64),
            agreement_N=joined(agreement).astype(np.float64),
            distance_N=joined(distance).astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.label_N)

    @property
    def num_lesions(self) -> int:
        """Of how many lesions the photographs are."""
        return len(np.unique(self.source_N))

    @property
    def truth_NK(self) -> NDArray[np.bool_]:
        """True for the label that is true; all False for none of them."""
        return np.asarray(self.label_N[:, None] == np.arange(len(self.labels)))

    def only(self, rows: NDArray[np.int64]) -> "Held":
        """The table of some photographs."""
        return Held(
            self.labels,
            self.is_exclusive,
            self.logits_NK[rows],
            self.label_N[rows],
            self.source_N[rows],
            self.agreement_N[rows],
            self.distance_N[rows],
        )

    def turns(self) -> Iterator[tuple["Held", NDArray[np.int64]]]:
        """Each time four fifths to fit on, and the rows of the fifth that is left to count on.

        Photographs of one lesion are never on both sides.
        """
        for fitted, left in GroupKFold(TURNS).split(self.label_N, groups=self.source_N):
            yield self.only(fitted), left


def known(values: Numbers) -> Numbers:
    """Those that are numbers."""
    return np.asarray(values[~np.isnan(values)])

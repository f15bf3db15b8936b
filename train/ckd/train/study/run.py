"""A study, carried out piece by piece: every candidate on every fold, then judged.

    study.json                      what is compared, and on what: commit, images, starting weights
    pieces.csv                      the time of every epoch (`ckd.train.study.clock`)
    <attempt>/fold<k>/              a run and its scores (`ckd.train.fitting.crossvalidate`)
    <attempt>/fold<k>/stages.json   scores of its stages (`ckd.train.study.judge`)
    <attempt>/all/                  the run of the winner on all training images

Nothing in it is an absolute path, so that the folder may be moved to another machine and back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from ckd.console import Bars, no_bars, say
from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.crossvalidate import crossvalidate
from ckd.train.fitting.fit import fit
from ckd.train.fitting.identity import digest, identity
from ckd.train.fitting.machine import Accelerator, device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.networks.pretrained import Weights
from ckd.train.recipes.recipe import Recipe
from ckd.train.study.clock import PIECES, Clock, TimedEpochs, TimeIsUp
from ckd.train.study.elsewhere import judge_elsewhere
from ckd.train.study.judge import judge_stages
from ckd.train.study.setting import Attempt, Study

STUDY: Final = "study.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a study is carried out with.

    Attributes:
        data: folder of the data set, of which the training images are used.
        weights: that the encoders start from.
        out: folder of the study.
        commit: of the code, which the study's folder remembers.
        elsewhere: folder of another data set to look at, or None.
        winner: candidate that is also trained on the other folds and on all images, or None.
        minutes: stop after so many, at the end of an epoch; None to go on until all is done.
        accelerator: processor to train on.
    """

    data: Path
    weights: Weights
    out: Path
    commit: str
    elsewhere: Path | None = None
    winner: str | None = None
    minutes: float | None = None
    accelerator: Accelerator = "auto"


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


def run_study(study: Study, settings: Settings, bars: Bars = no_bars) -> bool:
    """Carry out what is left of a study; the call may be interrupted and repeated at any time.

    Args:
        study: what to compare.
        settings: what to carry it out with.
        bars: show how single pieces of work advance.

    Returns:
        Whether everything is done; otherwise the time was up.

    Raises:
        InputError: the data set lacks what a candidate needs.
        UsageError: the folder holds a study of another commit, other images or starting weights,
            or of candidates with other settings.
    """
    pieces = pieces_of(study, settings.winner)
    data = settings.data
    train_set, _ = drop_unreadable(read_split(data, "train"), bars("files"))
    open_folder(study, settings, train_set)
    clock = Clock(
        settings.out / PIECES, None if settings.minutes is None else 60.0 * settings.minutes
    )
    for number, piece in enumerate(pieces, 1):
        run = piece.run(settings.out)
        say(f"{number} of {len(pieces)}: {run.relative_to(settings.out)}")
        watch = TimedEpochs(clock, piece.attempt.name, piece.fold_name)
        recipe = piece.attempt.recipe
        source, _ = sharing(piece, pieces[: number - 1])
        options = FitOptions(
            weights=settings.weights,
            reuse=None if source is None else source.run(settings.out),
            accelerator=settings.accelerator,
        )
        try:
            if piece.fold is None:
                fit(recipe, data, run, options, bars, (watch,))
                continue
            crossvalidate(
                recipe, data, run.parent, options, folds=study.folds, only=[piece.fold],
                callbacks=(watch,),
            )  # fmt: skip
            clock.check()
        except TimeIsUp:
            say(f"the time is up in {run.relative_to(settings.out)}; the same command goes on")
            return False
        _, held_out = split_fold(train_set, piece.fold, study.folds, recipe.seed)
        device = device_for(settings.accelerator)
        judge_stages(run, held_out, device, bars)
        if settings.elsewhere is not None and study.elsewhere:
            judge_elsewhere(run, settings.elsewhere, study.elsewhere, device, bars)
    return True


def open_folder(study: Study, settings: Settings, train_set: SampleSet) -> None:
    """Create the study's folder, or make sure that it can go on.

    Candidates may be added to a study; those that were begun cannot change, which their own folders
    make sure of.

    Raises:
        UsageError: it was begun by other code or on something else.
    """
    ground = {
        "commit": settings.commit,
        "images": digest(train_set),
        "starting weights": identity(settings.weights),
        "folds": study.folds,
    }
    path = settings.out / STUDY
    if path.exists():
        before = _read(path)["ground"]
        for name, value in ground.items():
            if before.get(name) != value:
                raise UsageError(
                    f"{settings.out} holds a study of another state of {name} "
                    f"({before.get(name)} there, {value} here); go on with that one, or name "
                    "another folder with --out"
                )
    elif settings.out.exists() and any(settings.out.iterdir()):
        raise UsageError(f"{settings.out} is no study, and not empty; name another one with --out")
    settings.out.mkdir(parents=True, exist_ok=True)
    content = {"ground": ground, "study": asdict(study)}
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


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


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_text())
        if not isinstance(content["ground"], dict):
            raise TypeError("not what a study wrote")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); name another folder") from error
    return dict(content)

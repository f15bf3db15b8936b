"""A study, carried out piece by piece: every candidate on every fold, then judged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ckd.console import Bars, no_bars, say
from ckd.contract.errors import UsageError
from ckd.contract.whole_file import replace_file
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.alone import alone_in
from ckd.train.fitting.crossvalidate import crossvalidate
from ckd.train.fitting.fit import fit
from ckd.train.fitting.machine import device_for
from ckd.train.fitting.options import FitOptions
from ckd.train.fitting.run_folder import RunFolder
from ckd.train.recipes.text import load_recipe
from ckd.train.study.clock import PIECES, Clock, TimedEpochs, TimeIsUp
from ckd.train.study.elsewhere import ELSEWHERE, check_elsewhere, judge_elsewhere
from ckd.train.study.folder import Conditions, open_folder
from ckd.train.study.judge import judge_stages
from ckd.train.study.pieces import Piece, pieces_of, sharing
from ckd.train.study.setting import Study

_DONE: Final = "done"


def run_study(study: Study, settings: Conditions, bars: Bars = no_bars) -> bool:
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
    listed = read_split(settings.data, "train", study.split_by)
    if settings.elsewhere is not None and not study.elsewhere:
        raise UsageError(
            "--elsewhere names another data set, but the study has no [elsewhere], which says what "
            "its labels stand for"
        )
    if settings.elsewhere is not None:
        check_elsewhere(listed.labels, settings.elsewhere, study.elsewhere)
    with alone_in(settings.out):
        train_set, _ = drop_unreadable(listed, bars("files"))
        open_folder(study, settings, train_set)
        return _carry_out(study, settings, pieces, train_set, bars)


def _carry_out(
    study: Study,
    settings: Conditions,
    pieces: Sequence[Piece],
    train_set: SampleSet,
    bars: Bars,
) -> bool:
    clock = Clock(
        settings.out / PIECES, None if settings.minutes is None else 60.0 * settings.minutes
    )
    for number, piece in enumerate(pieces, 1):
        run = piece.run(settings.out)
        if _is_done(run, piece, settings):
            continue
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
                fit(recipe, settings.data, run, options, bars, (watch,))
            else:
                crossvalidate(
                    recipe, settings.data, run.parent, options, folds=study.folds,
                    only=[piece.fold], callbacks=(watch,),
                )  # fmt: skip
                clock.check()
                _, held_out = split_fold(train_set, piece.fold, study.folds, recipe.seed)
                device = device_for(settings.accelerator)
                judge_stages(run, held_out, device, bars)
                clock.check()
                if settings.elsewhere is not None:
                    judge_elsewhere(run, settings.elsewhere, study.elsewhere, device, bars)
        except TimeIsUp:
            say(f"the time is up in {run.relative_to(settings.out)}; the same command goes on")
            return False
        replace_file(run / _DONE, b"")
    return True


def _is_done(run: Path, piece: Piece, settings: Conditions) -> bool:
    """Whether all of a piece is done, so that nothing of it needs to be read again.

    Raises:
        UsageError: it was, but with other settings.
    """
    if not (run / _DONE).exists() or not RunFolder(run).has_all(piece.attempt.recipe):
        return False
    if load_recipe(run / "recipe.json") != piece.attempt.recipe:
        raise UsageError(
            f"{run} was trained with other settings than {piece.attempt.candidate} has now; give "
            "the changed candidate another name"
        )
    wants_more = settings.elsewhere is not None and piece.fold is not None
    return not wants_more or (run / ELSEWHERE).exists()

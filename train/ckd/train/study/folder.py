"""The folder of a study, and what it remembers: commit, images, starting weights, candidates.

    study.json                      what is compared, and on what
    pieces.csv                      the time of every epoch (`ckd.train.study.clock`)
    <attempt>/fold<k>/              a run and its scores (`ckd.train.fitting.crossvalidate`)
    <attempt>/fold<k>/stages.json   scores of its stages (`ckd.train.study.judge`)
    <attempt>/fold<k>/done          nothing of it is left to do
    <attempt>/all/                  the run of the winner on all training images

No path in it leads out of it, so that the folder may be moved to another machine and back.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ckd.contract.disk import lasting_folder
from ckd.contract.errors import InputError, UsageError
from ckd.contract.parsing import read_json
from ckd.contract.whole_file import replace_file
from ckd.contract.writer_lock import LOCK
from ckd.data.samples import SampleSet
from ckd.train.fitting.identity import digest, identity
from ckd.train.fitting.machine import Accelerator
from ckd.train.networks.pretrained import Weights
from ckd.train.study.setting import Study

STUDY: Final = "study.json"
#: What reading a damaged file leads to.
_DAMAGE: Final = (OSError, ValueError, TypeError, KeyError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
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


def open_folder(study: Study, settings: Conditions, train_set: SampleSet) -> None:
    """Create the study's folder, or make sure that it can go on.

    Candidates may be added to a study; those that were begun cannot change, which their own folders
    make sure of.

    Raises:
        UsageError: it was begun by other code or on something else, or a candidate that was begun
            is not in the study any more.
    """
    ground = {
        "commit": settings.commit,
        "images": digest(train_set),
        "starting weights": identity(settings.weights),
        "folds": study.folds,
    }
    path = settings.out / STUDY
    if path.exists():
        before = _read(path)
        for name, value in ground.items():
            if (theirs := before["ground"].get(name)) != value:
                raise UsageError(
                    f"{settings.out} holds a study of another state of {name} "
                    f"({theirs} there, {value} here); go on with that one, or name "
                    "another folder with --out"
                )
        kept = [candidate.name for candidate in study.candidates]
        for name in before["candidates"]:
            if name not in kept and any(settings.out.glob(f"{name}*/fold*")):
                raise UsageError(
                    f"{settings.out}: candidate {name!r} was begun and is not in the study any "
                    "more; whoever reads the table must see all that was looked at, so put it back"
                )
    elif settings.out.exists() and any(p.name != LOCK for p in settings.out.iterdir()):
        raise UsageError(f"{settings.out} is no study, and not empty; name another one with --out")
    lasting_folder(settings.out)
    names = [candidate.name for candidate in study.candidates]
    content = {"ground": ground, "candidates": names, "study": asdict(study)}
    replace_file(path, (json.dumps(content, indent=2) + "\n").encode())


def read_object(path: Path, objects: Sequence[str] | None = None) -> dict[str, Any]:
    """A JSON object that the study wrote while it judged.

    Args:
        path: of the file.
        objects: names in it that must stand for objects too; all by default.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return _object(path, objects)
    except _DAMAGE as error:
        raise InputError(
            f"{path}: damaged ({error}); remove it and repeat the command, which judges again"
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = _object(path, ("ground",))
        if not isinstance(content["candidates"], list):
            raise TypeError("not what a study wrote")
    except _DAMAGE as error:
        raise UsageError(f"{path}: cannot be read ({error}); name another folder") from error
    return content


def _object(path: Path, objects: Sequence[str] | None) -> dict[str, Any]:
    """A JSON object; one of `_DAMAGE` if the file does not hold it."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise TypeError("not what a study wrote")
    inside = content if objects is None else objects
    if not all(isinstance(content[name], dict) for name in inside):
        raise TypeError("not what a study wrote")
    return content

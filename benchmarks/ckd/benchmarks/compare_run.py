"""`ckd-bench compare` of one run: its bundle in every form, its peers, and what INT8 costs."""

import tempfile
from importlib.util import find_spec
from pathlib import Path

from ckd.benchmarks.compare import Comparison, compare
from ckd.benchmarks.subjects import make_subject
from ckd.calibration.images import by_digest, check_apart, spread
from ckd.console import Progress, say
from ckd.data.folds import split_fold
from ckd.data.layouts import read_split
from ckd.data.samples import SampleSet, SplitBy
from ckd.runtime.sources.images import images_below
from ckd.train.feeding.dataset import drop_unreadable
from ckd.train.fitting.run_folder import recipe_of
from ckd.train.recipes.recipe import Recipe

#: The most images that INT8 files are made by.
_NUM_CALIBRATION = 100


def compare_run(
    *,
    run: Path | None,
    recipe: str | None,
    bundle: Path | None,
    calibration: Path | None,
    data: Path | None,
    fold: tuple[int, int] | None = None,
    threads: int,
    warmup: int,
    runs: int,
    command: str,
    progress: Progress | None = None,
) -> Comparison:
    """Make what is missing of a run or recipe, and compare every way to run it.

    Args:
        run: folder of `ckd-train fit`; None takes untrained networks of the recipe.
        recipe: name; used without a run.
        bundle: of the run; made if None, with ``calibration`` in INT8 too.
        calibration: folder of images that INT8 files are made by.
        data: data set whose validation images judge the accuracy.
        fold: judge by this fold of its training images instead, which a run inside the fold has not
            seen.
        threads: of every entrant.
        warmup: turns that do not count.
        runs: turns that count.
        command: to be quoted.
        progress: told after every call.

    Raises:
        UsageError: no run and no recipe, or entrants that do not run the same networks.
        InputError: an image to calibrate on is one of the data set's.
    """
    samples = None if data is None else judges(data, None if run is None else recipe_of(run), fold)
    files = (
        [] if calibration is None else spread(images_below(calibration, say=say), _NUM_CALIBRATION)
    )
    images = by_digest(files)
    if samples is not None:
        check_apart(images, samples)
    if images and find_spec("nncf") is None:
        say("without NNCF: `pip install --group peers` in the folder of this project adds it")
    with tempfile.TemporaryDirectory() as folder:
        subject = make_subject(
            Path(folder), run=run, recipe=recipe, bundle=bundle, folds=False, images=images
        )
        say("measuring")
        return compare(
            subject.bundle,
            subject.run,
            subject.fused,
            threads=threads,
            warmup=warmup,
            runs=runs,
            weights=subject.weights,
            command=command,
            calibration=list(images.values()),
            samples=samples,
            progress=progress,
        )


def judges(data: Path, recipe: Recipe | None, fold: tuple[int, int] | None) -> SampleSet:
    """The validation images, or those that a run inside a fold has not seen."""
    split_by: SplitBy = "lesion" if recipe is None else recipe.split_by
    if fold is None or recipe is None:
        return read_split(data, "val", split_by, say)
    train_set, _ = drop_unreadable(read_split(data, "train", split_by, say))
    return split_fold(train_set, *fold, recipe.seed)[1]

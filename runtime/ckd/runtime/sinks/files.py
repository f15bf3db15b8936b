"""A folder of results: mask, overlay and JSON of each image, and two tables of all."""

import errno
import itertools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ckd.contract.disk import is_of_the_disk, refusal
from ckd.contract.errors import InputError, UsageError
from ckd.contract.version import ckd_version
from ckd.contract.writer_lock import one_writer
from ckd.finding.decision import Decision
from ckd.finding.files import save_finding, write_json
from ckd.finding.finding import Finding
from ckd.runtime.closing import Closing
from ckd.runtime.sinks.tables import Tables

#: Of `findings.csv`, after the image's name.
_DECISION: Final = ("refer", "flagged", "operating_point", "reasons", "label_set")
_COLUMNS: Final = ("outcome", "reason", *_DECISION, "top", "lesion_area_px", "time_s")

#: Why a photograph has no finding: what stands as ``reason`` in `findings.csv`.
Failure = Literal["unreadable", "not_finite", "not_written"]


class NotWritten(InputError):
    """The results of this one photograph cannot be written."""


class ResultFolder(Closing):
    """Writes findings into a folder; each row of the tables is written at once.

    So an interruption loses no finding. `predictions.csv` is an ISIC submission, whose scorer
    refuses further columns: ``image``, then one probability for each label in the bundle's class
    order, empty where there is no finding. `findings.csv` says the rest in words and codes: the
    decision's cells are empty where there is none, and several codes or labels in one are
    separated by semicolons. What the probabilities rest on stands in `run.json`.

    The files of a photograph are each whole or absent, whatever happens, and none of them appears
    if one cannot be written; everything is lasting once the folder was closed. No other process
    writes in the folder meanwhile.

    Args:
        folder: created if missing; results of the same names are replaced.
        labels: in the bundle's order.
        run: settings that the findings are made with, saved as `run.json`.

    Raises:
        UsageError: the folder cannot be written to, or another process writes in it.
    """

    def __init__(self, folder: Path, labels: Sequence[str], run: dict[str, Any]) -> None:
        self.folder = folder
        self.labels = tuple(labels)
        self._stems = {"run"}  # a photograph of that name must not replace `run.json`
        with ExitStack() as stack:
            try:
                stack.enter_context(
                    one_writer(folder, "wait for it, or name another folder with --out")
                )
                write_json(folder / "run.json", {**run, "ckd": ckd_version()}, is_lasting=False)
                self._tables = Tables(folder, ("predictions.csv", "findings.csv"))
                stack.callback(self._tables.close)
                self._tables.add(["image", *self.labels], ["image", *_COLUMNS])
            except OSError as error:
                raise UsageError(
                    f"{folder}: cannot write results there ({error.strerror})"
                ) from error
            self._stack = stack.pop_all()

    def add(
        self,
        image: Path | str,
        finding: Finding,
        image_HWC: NDArray[np.uint8],
        about: Mapping[str, Any] | None = None,
    ) -> dict[str, str]:
        """Write one finding; gives the paths of its files by kind.

        Args:
            image: path of the photograph, whose stem names the files. For a second image of the
                same stem the ending becomes part of the name, and further ones are numbered. The
                JSON holds the path.
            finding: to write.
            image_HWC: RGB, for the overlay.
            about: further facts about the photograph, for the JSON.

        Raises:
            NotWritten: this photograph's files cannot be written, such as for an over-long name.
            OSError: the disk is full or fails, so nothing can be written any more.
        """
        name, stem = Path(image).name, Path(image).stem
        if stem in self._stems:
            stem = name
        for number in itertools.count(2):
            if stem not in self._stems:
                break
            stem = f"{name}-{number}"
        self._stems.add(stem)
        try:
            written = save_finding(finding, self.folder, stem, image_HWC, str(image), about=about)
        except OSError as error:
            if is_of_the_disk(error):
                raise
            self._stems.discard(stem)
            if error.errno == errno.ENAMETOOLONG:
                raise NotWritten(
                    f"{image}: its name is too long to call results after it; shorten it"
                ) from None
            raise NotWritten(f"{image}: its results cannot be written: {refusal(error)}") from error
        self.add_row(stem, finding)
        return {kind: str(self.folder / file) for kind, file in written.items()}

    def add_row(self, name: str, finding: Finding, time_s: float | None = None) -> None:
        """Append a row to the tables only; a frame has a time from the start of its recording."""
        known = finding.probabilities  # empty without a finding, or if the cascade classifies not
        cells = [f"{known[label]:.6f}" if label in known else "" for label in self.labels]
        reason = "" if finding.reason is None else finding.reason.code
        decided = _decided(finding.decision)
        said = (finding.outcome, reason, *decided, finding.top or "", finding.lesion_area_px)
        said += ("" if time_s is None else f"{time_s:.3f}",)
        self._tables.add([name, *cells], [name, *said])

    def add_failure(self, image: Path | str, why: Failure) -> None:
        """Append a row to `findings.csv` for a photograph without a finding, by its whole name."""
        said = [Path(image).name, "failed", why]
        self._tables.add(None, [*said, *[""] * (len(_COLUMNS) + 1 - len(said))])

    def close(self) -> None:
        """Finish the tables, bring everything to the disk, and let others write in the folder."""
        self._stack.close()


def _decided(decision: Decision | None) -> tuple[str, ...]:
    """The cells of `_DECISION`."""
    if decision is None:
        return ("",) * len(_DECISION)
    return (
        "true" if decision.refer else "false",
        "true" if decision.flagged else "false",
        decision.operating_point,
        ";".join(decision.reasons),
        ";".join(decision.label_set or ()),
    )

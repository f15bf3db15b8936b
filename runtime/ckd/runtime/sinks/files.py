"""A folder of results: mask, overlay and JSON of each image, and one CSV of all."""

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.contract.version import ckd_version
from ckd.finding.files import save_finding, write_json
from ckd.finding.finding import Finding
from ckd.runtime.closing import Closing


class ResultFolder(Closing):
    """Writes findings into a folder; each row of `predictions.csv` is written at once.

    So an interruption loses no finding. The CSV has the columns of an ISIC submission: ``image``,
    then one probability for each label in the bundle's class order.

    Args:
        folder: created if missing; results of the same names are replaced.
        labels: in the bundle's order.
        run: settings that the findings are made with, saved as `run.json`.

    Raises:
        UsageError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, labels: Sequence[str], run: dict[str, Any]) -> None:
        self.folder = folder
        self.labels = tuple(labels)
        self._stems = {"run"}  # a photograph of that name must not replace `run.json`
        try:
            folder.mkdir(parents=True, exist_ok=True)
            settings = {**run, "ckd": ckd_version()}
            write_json(folder / "run.json", settings)
            self._csv = (folder / "predictions.csv").open(
                "w", newline="", encoding="utf-8", errors="surrogateescape"
            )
        except OSError as error:
            raise UsageError(f"{folder}: cannot write results there ({error.strerror})") from error
        self._rows = csv.writer(self._csv)
        self._rows.writerow(["image", *self.labels])

    def add(
        self, image: Path | str, finding: Finding, image_HWC: NDArray[np.uint8]
    ) -> dict[str, str]:
        """Write one finding; gives the paths of its files by kind.

        Args:
            image: path of the photograph, whose stem names the files. For a second image of the
                same stem the ending becomes part of the name, and further ones are numbered. The
                JSON holds the path.
            finding: to write.
            image_HWC: RGB, for the overlay.
        """
        name, stem = Path(image).name, Path(image).stem
        if stem in self._stems:
            stem = name
        for number in itertools.count(2):
            if stem not in self._stems:
                break
            stem = f"{name}-{number}"
        self._stems.add(stem)
        written = save_finding(finding, self.folder, stem, image_HWC, str(image))
        self.add_row(stem, finding)
        return {kind: str(self.folder / file) for kind, file in written.items()}

    def add_row(self, name: str, finding: Finding) -> None:
        """Append a row to the CSV only."""
        known = finding.probabilities  # empty if the cascade does not classify
        cells = [f"{known[label]:.6f}" if label in known else "" for label in self.labels]
        self._rows.writerow([name, *cells])
        self._csv.flush()

    def close(self) -> None:
        """Finish the CSV."""
        self._csv.close()

"""Networks in training judged as a bundle would be: findings by sections that lie in a folder.

A bundle's sections are fitted before there is a bundle. So that robustness and groups can be told
in terms of decisions at that time, the same `Finder` that a device uses runs on a system's logits.

Suffixes: H rows, W columns, S network side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ckd.contract.errors import BundleError, InputError
from ckd.contract.fitted_sections import read_fitted
from ckd.contract.labels import headline_tasks
from ckd.contract.spec import OutputSpec, Section
from ckd.data.samples import Sample, SampleSet
from ckd.finding.finder import Finder
from ckd.scores.estimates import Answered
from ckd.scores.images import ImageScore, score_against
from ckd.train.evaluation.views import Logits
from ckd.train.systems import rewrite
from ckd.train.systems.graph import System


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A system as `ckd.finding.content.Declaring` wants it."""

    name: str
    labels: tuple[str, ...]
    outputs: OutputSpec
    image_size: int
    mask_threshold: float
    shapes: Mapping[str, tuple[int, ...]]
    sections: Mapping[str, Section] = field(default_factory=dict)


class Judge:
    """Runs a system on pictures at network size and scores what a device would say of them.

    Args:
        system: trained; it stays in evaluation mode.
        sections: folder with ``sections.json``, as `ckd-train sections` writes it; None without.
        digests: of the system's recipe and training images, which the sections must be of, too.

    Attributes:
        tasks: labels of the mean AUC.
        target: the label that is looked for: that of the sections, else the first task; None if
            the system knows no labels.
        point: the operating point; None without sections that hold one.

    Raises:
        InputError: the folder's files are missing, damaged, or do not fit the system or its run.
    """

    def __init__(
        self, system: System, sections: Path | None = None, digests: Mapping[str, str] | None = None
    ) -> None:
        self._weights = system.digest()
        declared: Mapping[str, Section] = {}
        if sections is not None:
            fitted = read_fitted(sections)
            stated = {**(digests or {}), "weights_digest": self._weights}
            fitted.check_networks(sections, stated, system.name)
            declared = fitted.sections
        opened = rewrite.deployed(system).eval()
        # Depthwise convolutions are twice as fast in this layout on a CPU.
        self._system = opened.to(memory_format=torch.channels_last)
        outputs = replace(opened.outputs, class_map=None)
        self._names = outputs.names()
        self.source = Declared(
            name=system.name,
            labels=tuple(system.labels),
            outputs=outputs,
            image_size=system.image_size,
            mask_threshold=system.mask_threshold,
            shapes=self._shapes(),
            sections=declared,
        )
        self._finder = _finder(self.source, sections)
        decider = self._finder.decider
        self.tasks = headline_tasks(system.tasks, self.source.labels)
        self.target = None if outputs.class_logits is None else self.tasks[0]
        if decider.points is not None:
            self.target = decider.points.target
        self.point = decider.point

    def logits(self, images: NDArray[np.uint8], batch_size: int = 8) -> list[Logits]:
        """Outputs for each of several pictures, uint8 RGB [N, S, S, 3], without batch axis."""
        device = next(self._system.parameters()).device
        rows: list[Logits] = []
        for batch in torch.split(torch.from_numpy(images), batch_size):
            with torch.no_grad():
                tensors = self._system(batch.to(device), self._names)
            arrays = {name: tensors[name].float().cpu().numpy() for name in self._names}
            rows += [{n: array[row] for n, array in arrays.items()} for row in range(len(batch))]
        return rows

    def score(
        self,
        logits: Logits,
        sample: Sample,
        image_SS3: NDArray[np.uint8],
        truth_HW: NDArray[np.bool_] | None,
    ) -> ImageScore:
        """The score of a picture, with a verdict, which says nothing of decisions without sections.

        Args:
            logits: of `logits`.
            sample: whose label it has, numbered as the system numbers its own.
            image_SS3: the picture.
            truth_HW: true mask, of any size, or None.
        """
        size_hw = image_SS3.shape[:2] if truth_HW is None else truth_HW.shape
        of_one = {name: array[None] for name, array in logits.items()}
        finding = self._finder(of_one, (size_hw[0], size_hw[1]), image_SS3)
        return score_against(finding, sample, truth_HW)

    def answered(self, images: Sequence[ImageScore]) -> Answered:
        """Scores of this judge, ready to be counted."""
        return Answered(
            images,
            labels=self.source.labels,
            tasks=self.tasks if self.source.outputs.class_logits is not None else (),
            target=self.target,
            decides=self.point is not None,
        )

    def about(self, recipe: str, samples: SampleSet) -> dict[str, Any]:
        """What figures of this judge rest on, ready for JSON."""
        point = self.point
        return {
            "recipe": recipe,
            "weights": self._weights,
            "dataset": samples.name,
            "split": samples.split,
            "num_images": len(samples),
            "target": self.target,
            "operating_point": None if point is None else point.name,
        }

    def sentence(self, recipe: str, samples: SampleSet) -> str:
        """The same in words."""
        count = f"{recipe} on {samples.name} {samples.split}, {len(samples)} images, single view"
        if self.point is None:
            return f"{count}; without rules for decisions."
        return (
            f"{count}; decided at the operating point {self.point.name}, "
            f"{self.target} from {self.point.at_least:.3f} on."
        )

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        side = self._system.image_size
        blank = np.zeros((1, side, side, 3), np.uint8)
        return {name: (1, *array.shape) for name, array in self.logits(blank)[0].items()}


def _finder(source: Declared, folder: Path | None) -> Finder:
    def read(name: str) -> bytes:
        assert folder is not None
        try:
            return (folder / name).read_bytes()
        except OSError as error:
            raise InputError(
                f"{folder / name} cannot be read ({error.strerror}), and section refer judges by "
                "it; `ckd-train sections` writes it beside sections.json"
            ) from error

    try:
        return Finder(source, source.name, "pytorch", "fp32", read=read)
    except BundleError as error:
        raise InputError(f"{folder}: {error}") from error

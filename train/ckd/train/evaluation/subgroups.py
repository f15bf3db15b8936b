"""For whom a trained system works: figures by label, lesion size, skin tone and hair.

groups.json    figures of each group with intervals
groups.csv     what each image is grouped by: share of lesion, angle of skin, share of hair
groups.md      the table for a model card
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.console.progress import Progress
from ckd.contract.cells import cell
from ckd.contract.disk import lasting_folder
from ckd.contract.labels import label_of
from ckd.contract.whole_file import replace_file
from ckd.data.groups import Traits, groups_of, traits_of
from ckd.data.masks import read_mask
from ckd.data.samples import Sample, SampleSet, numbered_as
from ckd.finding.files import write_json
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.scores.groups import GroupScore, group_scores, groups_text
from ckd.train.evaluation.judge import Judge

_BATCH: Final = 8


@dataclass(frozen=True, slots=True)
class Grouped:
    """What was measured.

    Attributes:
        samples: in order, with their labels numbered as the system numbers its own.
        traits: of each sample.
        scores: of all images and of each group.
    """

    samples: SampleSet
    traits: tuple[Traits, ...]
    scores: tuple[GroupScore, ...]


@dataclass(frozen=True, slots=True)
class _Looked:
    """A sample after one look at its photograph: S network side, H and W of the photograph."""

    sample: Sample
    traits: Traits
    picture_SS3: NDArray[np.uint8]
    truth_HW: NDArray[np.bool_] | None


def measure_groups(judge: Judge, samples: SampleSet, progress: Progress | None = None) -> Grouped:
    """Let a judge answer every photograph, a single view of each, and count by groups.

    Args:
        judge: of the networks.
        samples: photographs.
        progress: called with the number of photographs done and of all.

    Raises:
        InputError: there are no photographs, one cannot be read, or has an unknown label.
    """
    source = judge.source
    samples = numbered_as(source.labels, samples, exclusive=source.outputs.exclusive)
    traits, images = [], []
    for chunk in _looked_at(samples, source.image_size):
        logits = judge.logits(np.stack([one.picture_SS3 for one in chunk]))
        for one, own in zip(chunk, logits, strict=True):
            traits.append(one.traits)
            images.append(judge.score(own, one.sample, one.picture_SS3, one.truth_HW))
        if progress is not None:
            progress(len(images), len(samples))
    groups = groups_of(samples, traits)
    return Grouped(samples, tuple(traits), group_scores(judge.answered(images), groups))


def write_groups(
    grouped: Grouped, target: str | None, out: Path, about: Mapping[str, Any], sentence: str
) -> None:
    """Write the files described above.

    Args:
        grouped: what was measured.
        target: the label that is looked for.
        out: folder, created if missing.
        about: written into the JSON file too.
        sentence: says which images were counted, and by which point was decided.
    """
    lasting_folder(out)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "label", "lesion_share", "ita_degrees", "hair_share"))
    for sample, traits in zip(grouped.samples.samples, grouped.traits, strict=True):
        label = "" if sample.label is None else label_of(grouped.samples.labels, sample.label)
        numbers = (traits.lesion_share, traits.ita_degrees, traits.hair_share)
        figures = ("" if number is None else f"{number:.4f}" for number in numbers)
        writer.writerow((cell(sample.id), cell(label), *figures))
    replace_file(out / "groups.csv", table.getvalue().encode())
    text = groups_text(grouped.scores, target, sentence)
    replace_file(out / "groups.md", f"{text}\n".encode())
    write_json(
        out / "groups.json",
        {**about, "target": target, "groups": [score.as_dict() for score in grouped.scores]},
    )


def _looked_at(samples: SampleSet, side_px: int) -> Iterator[Sequence[_Looked]]:
    def look(sample: Sample) -> _Looked:
        image_HWC = read_rgb(sample.image)
        truth_HW = None if sample.mask is None else read_mask(sample.mask, image_HWC.shape)
        picture_SS3 = network_image(image_HWC, side_px)
        return _Looked(sample, traits_of(image_HWC, truth_HW), picture_SS3, truth_HW)

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(samples), _BATCH):
            yield list(pool.map(look, samples.samples[start : start + _BATCH]))

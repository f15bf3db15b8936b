"""What a system answered for images that it was not trained on, kept with each fold.

Whatever is fitted on answers, such as thresholds and temperatures, needs those of images that the
networks have not seen. Cross-validation gives them for every training image and keeps them, so that
nothing has to run again when something is fitted.

Suffixes: N images, K classes, D features, H rows and W columns of the network's own maps.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.arrays import read_arrays
from ckd.contract.errors import InputError
from ckd.contract.parsing import parse_json
from ckd.contract.whole_file import replace_file
from ckd.data.samples import Sample
from ckd.train.evaluation.views import Logits
from ckd.train.systems.graph import System
from ckd.train.systems.rewrite import FEATURES

ANSWERS: Final = "answers.npz"
#: The label of an image without a diagnosis.
NO_LABEL: Final = -1
#: Unpacked; the answers of 2,000 images of 192 pixels take a fiftieth.
_MOST_BYTES: Final = 16 << 30

#: What reading a file leads to whose bytes are not those that were written.
_DAMAGE: Final = (
    OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, NotImplementedError,
    OverflowError, MemoryError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
_REMEDY: Final = "remove it and repeat `ckd-train crossvalidate`, which makes it anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutAnswers:
    """A system's answers for the images of one fold, a single view of each.

    Attributes:
        labels: class names, in the order of the logits.
        weights: digest of the weights that gave the answers.
        mask_threshold: of the system, chosen on the images that it was trained on.
        ids: of the images, each once, [N].
        label_N: number of the true class, that after the last for none of them, or `NO_LABEL` for
            an image without a diagnosis; int64 [N].
        class_logits_NK: float32; None if the system has no classifier.
        features_ND: what the last layer of the classifier sees, pooled; float32; None if the system
            has no such layer.
        mask_logits_NHW: of the fine mask; None if the system makes none. Kept as float16, which
            moves a probability by less than 0.0002.
        coarse_logits_NHW: likewise of the coarse mask.
    """

    labels: tuple[str, ...]
    weights: str
    mask_threshold: float
    ids: tuple[str, ...]
    label_N: NDArray[np.int64]
    class_logits_NK: NDArray[np.float32] | None
    features_ND: NDArray[np.float32] | None
    mask_logits_NHW: NDArray[np.float16] | None
    coarse_logits_NHW: NDArray[np.float16] | None

    def save(self, path: Path) -> None:
        """Write everything into one file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        about = {
            "labels": self.labels,
            "weights": self.weights,
            "mask_threshold": self.mask_threshold,
        }
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        content = io.BytesIO()
        np.savez_compressed(
            content,
            about=np.array(json.dumps(about)),
            ids=np.array(self.ids),
            label_N=self.label_N,
            **{name: array for name, array in arrays.items() if array is not None},
        )
        replace_file(path, content.getbuffer())

    @classmethod
    def load(cls, path: Path) -> "HeldOutAnswers":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing or damaged, or holds what does not fit together.
        """
        try:
            content = read_arrays(path.read_bytes(), None, _MOST_BYTES)
            about = parse_json(str(content["about"]))
            read = cls(
                labels=tuple(map(str, about["labels"])),
                weights=str(about["weights"]),
                mask_threshold=float(about["mask_threshold"]),
                ids=tuple(map(str, content["ids"].tolist())),
                label_N=content["label_N"],
                **{name: content.get(name) for name in _ARRAYS},
            )
            read._check()
        except FileNotFoundError:
            raise InputError(
                f"{path} is not there; `ckd-train crossvalidate` makes it, also for folds that are "
                "trained already"
            ) from None
        except _DAMAGE as error:
            raise InputError(f"{path}: damaged ({error}); {_REMEDY}") from error
        return read

    def _check(self) -> None:
        """`ValueError` if the parts do not fit together or are no numbers."""
        count = len(self.ids)
        if not count or len(set(self.ids)) < count:
            raise ValueError("no images, or one of them twice")
        _expect("label_N", self.label_N, np.dtype(np.int64), (count,))
        if not ((self.label_N >= NO_LABEL) & (self.label_N <= len(self.labels))).all():
            raise ValueError("label_N names classes that there are not")
        for name, (dtype, num_axes) in _ARRAYS.items():
            array = getattr(self, name)
            if array is not None:
                width = (len(self.labels),) if name == "class_logits_NK" else array.shape[1:]
                _expect(name, array, np.dtype(dtype), (count, *width))
                if array.ndim != num_axes:
                    raise ValueError(f"{name} has {array.ndim} axes, expected {num_axes}")
                if not np.isfinite(array).all():
                    raise ValueError(f"{name} holds numbers that are not finite")


#: Arrays that a system may not have -> type, number of axes.
_ARRAYS: Final[Mapping[str, tuple[type[np.generic], int]]] = {
    "class_logits_NK": (np.float32, 2),
    "features_ND": (np.float32, 2),
    "mask_logits_NHW": (np.float16, 3),
    "coarse_logits_NHW": (np.float16, 3),
}


@dataclass(slots=True)
class Collected:
    """Gathers the answers of one image after another."""

    system: System
    _samples: list[Sample] = field(default_factory=list)
    _logits: list[dict[str, NDArray[Any]]] = field(default_factory=list)

    def add(self, sample: Sample, logits: Logits) -> None:
        """Take the answers of an image; its label is numbered as the system numbers its own."""
        vectors = (self.system.outputs.class_logits, FEATURES)
        self._samples.append(sample)
        self._logits.append(
            {
                name: array if name in vectors else array[0].astype(np.float16)  # [1, H, W]
                for name, array in logits.items()
            }
        )

    def all(self) -> HeldOutAnswers:
        """The answers of all images that were added, in that order."""
        outputs = self.system.outputs

        def stacked(name: str | None) -> NDArray[Any] | None:
            if name is None or not self._logits or name not in self._logits[0]:
                return None
            return np.stack([logits[name] for logits in self._logits])

        labels = (NO_LABEL if s.label is None else s.label for s in self._samples)
        return HeldOutAnswers(
            labels=tuple(self.system.labels),
            weights=self.system.digest(),
            mask_threshold=self.system.mask_threshold,
            ids=tuple(sample.id for sample in self._samples),
            label_N=np.fromiter(labels, np.int64, len(self._samples)),
            class_logits_NK=stacked(outputs.class_logits),
            features_ND=stacked(FEATURES),
            mask_logits_NHW=stacked(outputs.mask_logits),
            coarse_logits_NHW=stacked(outputs.coarse_logits),
        )


def _expect(name: str, array: NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}, expected {dtype} {shape}")

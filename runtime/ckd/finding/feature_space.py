"""How far a photograph's features lie from those of the training photographs.

A Mahalanobis distance in the space of the largest principal components of the classifier's pooled
features (Lee et al. 2018, "A Simple Unified Framework for Detecting Out-of-Distribution Samples";
they take one mean for each class, here there is one for all). It tells what is far from skin; what
is near, such as another disease of the skin, it tells badly; the model card of a bundle that judges
by it has figures for each kind of picture.

Suffixes: D features, C components.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ckd.contract.arrays import read_arrays
from ckd.contract.errors import BundleError

MOST_COMPONENTS = 64
_LEAST_DEVIATION = 1e-4  # its inverse has to fit into half precision
_LARGEST = 1 << 16  # features
_MOST_BYTES = 1 << 26  # unpacked


@dataclass(frozen=True, slots=True, eq=False)
class FeatureSpace:
    """Mean and principal components of the features of training photographs.

    Attributes:
        mean_D: float32.
        whitening_CD: float32; components, each divided by the standard deviation along it.
    """

    mean_D: NDArray[np.float32]
    whitening_CD: NDArray[np.float32]

    @classmethod
    def fitted(cls, features_ND: NDArray[np.float32]) -> "FeatureSpace":
        """The space of some training photographs, at least three.

        It has at most 64 components, and no more than a tenth of the photographs: a variance that
        was measured on a few would make photographs that are not among them look far. Components
        along which features hardly vary are left out, as half precision could not hold them.
        """
        mean_D = features_ND.mean(axis=0, dtype=np.float64)
        _, sizes, directions_CD = np.linalg.svd(features_ND - mean_D, full_matrices=False)
        deviations_C = sizes / np.sqrt(len(features_ND) - 1)
        most = max(1, min(MOST_COMPONENTS, len(features_ND) // 10))
        least = max(_LEAST_DEVIATION, 1e-3 * deviations_C[0])
        kept = max(1, min(most, int(np.count_nonzero(deviations_C >= least))))
        whitening_CD = directions_CD[:kept] / np.maximum(deviations_C[:kept, None], least)
        return cls(*(_halved(array) for array in (mean_D, whitening_CD)))

    def __len__(self) -> int:
        """Number of components."""
        return len(self.whitening_CD)

    def first(self, count: int) -> "FeatureSpace":
        """The space of the largest components alone: distances of as many can be compared."""
        return FeatureSpace(self.mean_D, self.whitening_CD[:count])

    def distance(self, features_D: NDArray[np.float32]) -> float:
        """Distance from the mean, in standard deviations; its square has as many degrees of
        freedom as there are components."""
        return float(np.linalg.norm(self.whitening_CD @ (features_D - self.mean_D)))

    def packed(self) -> bytes:
        """Everything as one file, in half precision."""
        content = io.BytesIO()
        np.savez_compressed(
            content,
            mean=self.mean_D.astype(np.float16),
            whitening=self.whitening_CD.astype(np.float16),
        )
        return content.getvalue()

    @classmethod
    def unpacked(cls, content: bytes, num_features: int) -> "FeatureSpace":
        """Read what `packed` gave.

        Raises:
            BundleError: the file is damaged, or is about another number of features.
        """
        try:
            arrays = read_arrays(content, ("mean", "whitening"), _MOST_BYTES)
            mean_D, whitening_CD = (
                np.asarray(arrays[name], np.float32) for name in ("mean", "whitening")
            )
            if mean_D.shape != (num_features,) or num_features > _LARGEST:
                raise ValueError(f"mean has shape {list(mean_D.shape)}")
            if whitening_CD.ndim != 2 or whitening_CD.shape[1] != num_features:
                raise ValueError(f"whitening has shape {list(whitening_CD.shape)}")
            if not 1 <= len(whitening_CD) <= MOST_COMPONENTS:
                raise ValueError(f"{len(whitening_CD)} components")
            if not (np.isfinite(mean_D).all() and np.isfinite(whitening_CD).all()):
                raise ValueError("numbers that are not finite")
        except Exception as error:  # NumPy may raise anything for a damaged file
            raise BundleError(
                f"the file of training features cannot be used ({error}), expected "
                f"{num_features} features; `ckd-export sections` writes it anew"
            ) from error
        return cls(mean_D, whitening_CD)


def _halved(array: NDArray[np.float64]) -> NDArray[np.float32]:
    """As `packed` keeps it, so that what is fitted on distances fits what is shipped."""
    return array.astype(np.float16).astype(np.float32)

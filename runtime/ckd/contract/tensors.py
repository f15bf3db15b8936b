"""Tensors between sub-networks: they have a name, a fixed shape and a type."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import EngineError

DType = Literal["uint8", "float32", "float16"]

_DTYPES: tuple[str, ...] = get_args(DType)
#: TensorRT takes no more.
_MOST_AXES: Final = 8


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output of an engine. Shapes are static and include the batch axis."""

    name: str
    shape: tuple[int, ...]
    dtype: DType = "float32"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"{self.name}: dtype {self.dtype!r} is none of {', '.join(_DTYPES)}")
        if len(self.shape) > _MOST_AXES:
            raise ValueError(f"{self.name} has {len(self.shape)} axes, expected {_MOST_AXES}")
        # `true` of JSON is an integer, too.
        if not self.shape or not all(type(size) is int and size > 0 for size in self.shape):
            raise ValueError(f"{self.name}: shape {list(self.shape)} is not static and positive")

    @property
    def num_bytes(self) -> int:
        """Size of the tensor in memory."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def check(self, array: NDArray[Any]) -> None:
        """Raise `EngineError` unless ``array`` has exactly this shape and type."""
        if array.shape != self.shape or array.dtype != self.dtype:
            raise EngineError(
                f"{self.name}: expected {self.dtype}{list(self.shape)}, "
                f"got {array.dtype}{list(array.shape)}"
            )

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}{list(self.shape)}"

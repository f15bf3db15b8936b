"""`placement.json`: the layers and tensors of a cascade that are quantised, network by network.

Calibration writes it from a bundle's ONNX files, quantisation-aware training rounds exactly these
tensors, and calibration compares the Q/DQ nodes of the finished files with it. The file:

    schema      1
    bundle      identity of the bundle that it was made of, for people
    networks    by name:
        structure   SHA-256 of the graph without its weights
        inputs, outputs     names of tensors
        layers      in running order: ``op`` (Conv, ConvTranspose, Gemm, Add), ``weight`` (name of
                    the constant; null for a sum), ``reads`` (the activations, by name)
        tensors     by name: ``levels`` (lowest and highest integer of the grid, [-128, 127], or
                    [0, 255] where no number is negative) and ``limit`` (the largest number that
                    the tensor can hold, as of a ReLU6; null if there is none)
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json

#: Increased when a reader of the old number would misread the new content.
PLACEMENT_SCHEMA: Final = 1
SIGNED: Final = (-128, 127)
UNSIGNED: Final = (0, 255)


@dataclass(frozen=True, slots=True)
class PlacedLayer:
    """A layer that is computed in INT8.

    Attributes:
        op: ONNX operator.
        weight: name of its weight, quantised symmetrically per output channel; None for a sum.
        reads: names of the activations that it reads.
    """

    op: str
    weight: str | None
    reads: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The integers that a tensor is rounded to, times one scale for the whole tensor.

    Attributes:
        levels: `SIGNED` or `UNSIGNED`; zero is always zero.
        limit: the largest number that the tensor can hold, None if there is none. A range beyond
            it would waste steps and keep ONNX Runtime from fusing the clip.
    """

    levels: tuple[int, int]
    limit: float | None

    @property
    def largest_scale(self) -> float:
        """The scale at which the grid ends just below the limit; infinite if there is none."""
        return math.inf if self.limit is None else (1 - 1e-6) * self.limit / self.levels[1]


@dataclass(frozen=True, slots=True)
class NetworkPlacement:
    """What is quantised in one network; the fields are explained in the module."""

    structure: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    layers: tuple[PlacedLayer, ...]
    tensors: Mapping[str, Grid]

    def __post_init__(self) -> None:
        read = {name for layer in self.layers for name in layer.reads}
        if read != set(self.tensors):
            odd = min(read ^ set(self.tensors))
            raise ValueError(f"{odd!r} is read by a layer or has a grid, expected both")
        weights = [layer.weight for layer in self.layers if layer.weight is not None]
        if len(set(weights)) < len(weights):
            raise ValueError(f"{max(weights, key=weights.count)!r} is the weight of two layers")


@dataclass(frozen=True, slots=True)
class Placement:
    """What is quantised in a cascade, by network; a network with no layers stays in float."""

    bundle: str
    networks: Mapping[str, NetworkPlacement]

    @property
    def digest(self) -> str:
        """SHA-256 of what is placed; bundles that differ in their notes or date alone share it."""
        tree = {"schema": PLACEMENT_SCHEMA, "networks": asdict(self)["networks"]}
        return hashlib.sha256(json.dumps(tree).encode()).hexdigest()


def placement_to_json(placement: Placement) -> str:
    """The text of the file."""
    return json.dumps({"schema": PLACEMENT_SCHEMA, **asdict(placement)}, indent=1) + "\n"


def read_placement(path: Path) -> Placement:
    """Read a file that `placement_to_json` gave the text of.

    Raises:
        InputError: the file is missing, or not of this form.
    """
    try:
        tree = read_json(path)
        if tree["schema"] != PLACEMENT_SCHEMA:
            raise ValueError(f"schema {tree['schema']!r}, this ckd reads {PLACEMENT_SCHEMA}")
        networks = {str(name): _network(fields) for name, fields in tree["networks"].items()}
        return Placement(str(tree["bundle"]), networks)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except KeyError as error:
        raise InputError(f"{path}: no placement, {error} is missing; {_REMEDY}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: no placement ({error}); {_REMEDY}") from error


_REMEDY = "`ckd-calibrate placement` makes one"


def _network(fields: Mapping[str, Any]) -> NetworkPlacement:
    layers = tuple(
        PlacedLayer(
            str(layer["op"]),
            None if layer["weight"] is None else str(layer["weight"]),
            _names(layer["reads"]),
        )
        for layer in fields["layers"]
    )
    return NetworkPlacement(
        str(fields["structure"]),
        _names(fields["inputs"]),
        _names(fields["outputs"]),
        layers,
        {str(name): _grid(grid) for name, grid in fields["tensors"].items()},
    )


def _grid(fields: Mapping[str, Any]) -> Grid:
    levels = tuple(fields["levels"])
    if levels not in (SIGNED, UNSIGNED):
        raise ValueError(f"levels {list(levels)}, expected {list(SIGNED)} or {list(UNSIGNED)}")
    limit = None if fields["limit"] is None else float(fields["limit"])
    if limit is not None and not 0 < limit < math.inf:
        raise ValueError(f"limit {limit}, expected a positive number")
    return Grid(levels, limit)


def _names(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of names")
    return tuple(values)

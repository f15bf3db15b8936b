"""The folder that quantisation-aware training leaves, and calibration makes INT8 files of.

    placement.json      which tensors were rounded, see `ckd.contract.placement`
    ranges.json         the learnt scale of each of these tensors, by network
    weights.safetensors the weights of the networks as they are exported, "network/weight"; biases
                        of quantised layers are whole steps of the layer's sums, see `bias_of`
    qat.json            how it was made: the run, the images, the settings

A scale is the step of a tensor's grid: levels times scale are the numbers that it can hold.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.contract.placement import Placement, placement_to_json, read_placement
from ckd.contract.whole_file import replace_file

LEARNT_PLACEMENT: Final = "placement.json"
LEARNT_RANGES: Final = "ranges.json"
LEARNT_WEIGHTS: Final = "weights.safetensors"
LEARNT_RECORD: Final = "qat.json"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What was learnt, without the weights.

    Attributes:
        placement: the tensors that were rounded.
        scales: by network and tensor, each a float32 number.
        record: how it was made.
    """

    placement: Placement
    scales: Mapping[str, Mapping[str, float]]
    record: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name, network in self.placement.networks.items():
            given = self.scales.get(name, {})
            if set(given) != set(network.tensors):
                odd = min(set(given) ^ set(network.tensors))
                raise ValueError(f"{name}: {odd!r} has a scale or is placed, expected both")
            for tensor, scale in given.items():
                if not 0 < scale < math.inf:
                    raise ValueError(f"{name}: scale {scale} of {tensor}, expected above 0")


def weight_key(network: str, weight: str) -> str:
    """Name in the file of weights; ``weight`` is the name of the constant in the ONNX file."""
    return f"{network}/{weight}"


def bias_of(weight: str) -> str:
    """Name of the bias of a quantised layer, after its weight; layers may share a bias in float."""
    return f"{weight}+bias"


def write_learnt(folder: Path, learnt: Learnt, weights: bytes) -> None:
    """Write the four files; the record comes last, and a folder with it is complete.

    ``weights`` is the content of the file of weights.
    """
    (folder / LEARNT_RECORD).unlink(missing_ok=True)
    scales = {name: dict(tensors) for name, tensors in learnt.scales.items()}
    ranges = {"placement": learnt.placement.digest, "scales": scales}
    replace_file(folder / LEARNT_WEIGHTS, weights)
    replace_file(folder / LEARNT_PLACEMENT, placement_to_json(learnt.placement).encode())
    replace_file(folder / LEARNT_RANGES, (json.dumps(ranges, indent=1) + "\n").encode())
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in (LEARNT_WEIGHTS, LEARNT_RANGES)
    }
    record = {**learnt.record, "files": digests}
    replace_file(folder / LEARNT_RECORD, (json.dumps(record, indent=1) + "\n").encode())


def read_learnt(folder: Path) -> Learnt:
    """Read the folder, but for the weights.

    Raises:
        InputError: the folder is not complete, or a file in it is not of its form.
    """
    if not (folder / LEARNT_RECORD).is_file():
        raise InputError(
            f"{folder}: no {LEARNT_RECORD} in it; `ckd-train qat` makes such a folder, and goes on "
            "with one that it has not finished"
        )
    placement = read_placement(folder / LEARNT_PLACEMENT)
    path = folder / LEARNT_RANGES
    try:
        tree = read_json(path)
        if tree["placement"] != placement.digest:
            raise ValueError(f"it is of another placement than {LEARNT_PLACEMENT} beside it")
        scales = {
            str(name): {str(tensor): float(scale) for tensor, scale in tensors.items()}
            for name, tensors in tree["scales"].items()
        }
        learnt = Learnt(placement, scales, {})
        path = folder / LEARNT_RECORD
        record = dict(read_json(path))
        files = dict(record["files"])
        for name in (LEARNT_WEIGHTS, LEARNT_RANGES):
            path = folder / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != files[name]:
                raise ValueError(f"it is not what {LEARNT_RECORD} says")
        return replace(learnt, record=record)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error}); repeat `ckd-train qat`") from error

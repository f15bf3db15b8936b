"""A bundle with INT8 files by what quantisation-aware training learnt; no image is measured."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ckd.calibration.int8_bundle import QuantReport, QuantSetting, write_int8
from ckd.calibration.learnt_network import quantise_learnt
from ckd.calibration.placed import structure_of
from ckd.contract.bundle import Bundle, check_new
from ckd.contract.errors import InputError, UsageError
from ckd.contract.learnt import LEARNT_WEIGHTS, Learnt, read_learnt, weight_key
from ckd.contract.placement import Placement


def quantise_learnt_bundle(
    source: Bundle, folder: Path, out: Path, *, tensorrt: bool = True
) -> QuantReport:
    """Write a copy of a bundle with the INT8 files that were learnt; its float files stay.

    Args:
        source: that the placement was made of, or an export of the same networks.
        folder: of `ckd-train qat`.
        out: folder to create.
        tensorrt: also make files for TensorRT, if the bundle has FP16 ones.

    Raises:
        UsageError: ``out`` exists, or the placement is of other networks than the bundle's.
        InputError: the folder is not complete, or damaged.
        GateFailed: the Q/DQ nodes of a file are not those of the placement.
    """
    check_new(out)
    learnt = read_learnt(folder)
    check_same_networks(source, learnt.placement)
    weights = _weights(folder / LEARNT_WEIGHTS)
    kinds = QuantSetting(tensorrt=tensorrt).files(source.spec)
    contents: dict[tuple[str, str], bytes] = {}
    for node in source.spec.nodes:
        network = learnt.placement.networks[node.name]
        for kind, name in kinds.items() if network.layers else ():
            int8 = quantise_learnt(
                onnx.load_from_string(source.read(node.files[kind])),
                network,
                learnt.scales[node.name],
                _of_network(weights, node.name),
                unsigned=kind == "fp32",
            )
            contents[node.name, name] = int8.SerializeToString(deterministic=True)
    return write_int8(source, out, kinds, contents, _record(learnt))


def check_same_networks(source: Bundle, placement: Placement) -> None:
    """Raise `UsageError` if a placement is of other networks than a bundle's."""
    names = [node.name for node in source.spec.nodes]
    if set(names) != set(placement.networks):
        raise UsageError(
            f"the placement is of {', '.join(placement.networks)}, and {source.path} holds "
            f"{', '.join(names)}; make one of it by `ckd-calibrate placement`"
        )
    for node in source.spec.nodes:
        model = onnx.load_from_string(source.read(node.files["fp32"]))
        if structure_of(model) != placement.networks[node.name].structure:
            raise UsageError(
                f"the placement is of {placement.bundle}, whose network {node.name} is built "
                f"otherwise than that of {source.path}; make one of it by `ckd-calibrate placement`"
            )


def _weights(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        return dict(load_file(path))
    except Exception as error:  # its reader raises whatever the bytes lead to
        raise InputError(f"{path}: damaged ({error}); repeat `ckd-train qat`") from error


def _of_network(
    weights: Mapping[str, NDArray[np.float32]], network: str
) -> dict[str, NDArray[np.float32]]:
    prefix = weight_key(network, "")
    return {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}


def _record(learnt: Learnt) -> str:
    """As of a calibration, with the training in place of the images."""
    versions = {package: version(package) for package in ("onnx", "onnxruntime")}
    floats = [name for name, network in learnt.placement.networks.items() if not network.layers]
    record = {"method": "learnt", "keep_float": floats, "learnt": dict(learnt.record)}
    return json.dumps({**record, "images": [], "versions": versions}) + "\n"

"""A bundle with INT8 files by what quantisation-aware training learnt; no range is measured."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ckd.calibration.cost import Budget
from ckd.calibration.cost_card import cost_text, costs_of, exact_answers, record_cost
from ckd.calibration.half_weights import network_of
from ckd.calibration.int8_bundle import QuantReport, QuantSetting, write_int8
from ckd.calibration.learnt_network import quantise_learnt
from ckd.calibration.placed import structure_of
from ckd.console import Bars, no_bars
from ckd.contract.bundle import Bundle, check_new
from ckd.contract.errors import GateFailed, InputError, UsageError
from ckd.contract.learnt import LEARNT_WEIGHTS, Learnt, read_learnt, weight_key
from ckd.contract.placement import Placement
from ckd.contract.whole_file import new_folder
from ckd.data.samples import SampleSet, numbered_as


def judged_learnt_bundle(
    source: Bundle,
    folder: Path,
    out: Path,
    samples: SampleSet,
    budget: Budget,
    *,
    tensorrt: bool = True,
    bars: Bars = no_bars,
) -> QuantReport:
    """`quantise_learnt_bundle`, if what it costs on images is within a budget.

    The cost is written into the model card and calibration.json.

    Args:
        source: as for `quantise_learnt_bundle`.
        folder: of `ckd-train qat`.
        out: folder to create.
        samples: images with masks or labels that training did not see.
        budget: what may be lost against float32.
        tensorrt: also make files for TensorRT, if the bundle has FP16 ones.
        bars: begins one bar for each backend and precision.

    Raises:
        GateFailed: it costs more, or as by `quantise_learnt_bundle`.
        UsageError: ``out`` exists, or the placement is of other networks than the bundle's.
        InputError: an image cannot be read, or the folder is damaged.
    """
    check_new(out)
    samples = numbered_as(source.spec.labels, samples, exclusive=source.spec.outputs.exclusive)
    with new_folder(out) as new:
        path = new.path
        report = quantise_learnt_bundle(source, folder, path, tensorrt=tensorrt)
        made = Bundle(path)
        costs = costs_of(made, exact_answers(source, samples, bars), samples, bars)
        misses = [f"{name}: {m}" for name, cost in costs.items() for m in cost.misses(budget)]
        if misses:
            raise GateFailed(
                f"{folder}: INT8 costs too much on {len(samples)} images of {samples.name}: "
                f"{'; '.join(misses)}; train longer, or leave a part in float by "
                "`ckd-calibrate placement --float`"
            )
        images = f"{len(samples)} images of {samples.name} ({samples.split} split)"
        how = (
            "Weights and ranges were learnt by training. Lost against float32 on\n"
            f"{images}, which chose nothing, by the files for CPUs:"
        )
        int8 = [n.name for n in made.spec.nodes if n.files["int8.cpu"] != n.files["fp32"]]
        record = {
            "measured_on": images,
            "budget": asdict(budget),
            "costs": {backend: cost.as_dict() for backend, cost in costs.items()},
        }
        record_cost(path, cost_text(int8, (), costs, how), record)
        new.keep()
    return report


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
        UsageError: ``out`` exists, or the networks or their weights are others than the bundle's.
        InputError: the folder is not complete, or damaged.
        GateFailed: the Q/DQ nodes of a file are not those of the placement.
    """
    check_new(out)
    learnt = read_learnt(folder)
    check_same_networks(source, learnt.placement)
    _check_same_weights(source, folder, learnt)
    weights = _weights(folder / LEARNT_WEIGHTS)
    kinds = QuantSetting(tensorrt=tensorrt).files(source.spec)
    contents: dict[tuple[str, str], bytes] = {}
    for node in source.spec.nodes:
        network = learnt.placement.networks[node.name]
        for kind, name in kinds.items() if network.layers else ():
            int8 = quantise_learnt(
                network_of(source, node, kind),
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
        model = network_of(source, node, "fp32")
        if structure_of(model) != placement.networks[node.name].structure:
            raise UsageError(
                f"the placement is of {placement.bundle}, whose network {node.name} is built "
                f"otherwise than that of {source.path}; make one of it by `ckd-calibrate placement`"
            )


def _check_same_weights(source: Bundle, folder: Path, learnt: Learnt) -> None:
    """Raise `UsageError` if others were learnt from than a bundle has, or one of both is silent."""
    ours, theirs = (
        str(said) if said else "not stated"
        for said in (source.spec.provenance.get("weights_digest"), learnt.record.get("run_weights"))
    )
    if ours != theirs or ours == "not stated":
        raise UsageError(
            f"{folder} was learnt from networks with the weights {theirs[:12]}, and those of "
            f"{source.path} are {ours[:12]}; export the run that `ckd-train qat` was given"
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

"""A bundle with INT8 files from one without: quantise network after network, record, write."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.calibration.activations import Method
from ckd.calibration.cpu_file import non_negative_tensors, to_unsigned
from ckd.calibration.half_weights import network_of
from ckd.calibration.placement import layer_groups, quantised_layers
from ckd.calibration.upstream import Upstream
from ckd.console import Bars, no_bars
from ckd.contract.bundle import CASCADE, Bundle, check_new
from ckd.contract.card import MODEL_CARD, without_part
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import BundleError, UsageError
from ckd.contract.hashes import write_hashes
from ckd.contract.parsing import parse_json
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.whole_file import new_folder
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.cases import CASES_INT8, TOLERANCES, Tolerance, golden_images, pack_cases
from ckd.runtime.chain import Chain

CALIBRATION: Final = "calibration.json"
#: Title of the part of a model card that holds for one choice of INT8 only.
COST_TITLE: Final = "What INT8 costs"
#: Between engines that run the same INT8 files: an engine may compute the float layers in bfloat16,
#: and rounding to the other step of a coarse grid moves borders. A wrong kernel was seen to shift
#: probabilities by 0.9.
ACCEPTANCE: Final = Tolerance(mask_jaccard=0.90, probability=0.10, class_map=1.5, features=2.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSetting:
    """How a bundle is quantised.

    Attributes:
        method: of choosing ranges, see `quantise`.
        residual_adds: see `quantised_layers`.
        keep_float: networks, and "network/part" of them, to leave in float; see `layer_groups`.
        tensorrt: also make files for TensorRT, if the bundle has FP16 ones.
    """

    method: Method = "percentile"
    residual_adds: bool = True
    keep_float: tuple[str, ...] = ()
    tensorrt: bool = True

    def files(self, spec: CascadeSpec) -> Mapping[str, str]:
        """Kind of the float file -> kind of the INT8 file to make of it."""
        kinds = {"fp32": "int8.cpu"} | ({"fp16": "int8"} if self.tensorrt else {})
        return {kind: int8 for kind, int8 in kinds.items() if kind in spec.file_kinds()}


@dataclass(frozen=True, slots=True)
class QuantReport:
    """Bytes of each network's file in float32 and in INT8."""

    bytes_fp32: Mapping[str, int]
    bytes_int8: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return asdict(self)


def quantise_bundle(
    source: Bundle,
    images: Mapping[str, Path],
    out: Path,
    *,
    setting: QuantSetting,
    bars: Bars = no_bars,
) -> QuantReport:
    """Write a copy of a bundle with INT8 files: for CPUs, and where it has FP16 for TensorRT.

    Args:
        source: with float32 files; INT8 files that it has are replaced.
        images: to measure ranges on, by SHA-256; the hashes are recorded in the bundle.
        out: folder to create.
        setting: how to quantise.
        bars: begins one bar for each network.

    Raises:
        UsageError: ``out`` exists, or an unknown network.
        InputError: an image cannot be read, or a range is not finite.
    """
    check_new(out)
    spec = source.spec
    golden_images(source)  # before anything is measured
    files = setting.files(spec)
    plan = {
        (node.name, kind): planned_layers(source, node, setting, kind)
        for node in spec.nodes
        for kind in files
    }
    changed = {name for (name, _), layers in plan.items() if layers}
    if not changed:
        raise UsageError("every network is to stay in float, so there is nothing to quantise")
    contents: dict[tuple[str, str], bytes] = {}
    non_negative: set[str] = set()  # tensors between the networks
    with Upstream(spec, images, bars) as upstream:
        for node in spec.nodes:
            kept = source.read(node.files["fp32"])
            exact = network_of(source, node, "fp32")
            for kind, name in files.items() if node.name in changed else ():
                model = network_of(source, node, kind)
                layers = plan[node.name, kind]
                signed = upstream.quantise(node, model, layers, setting.method, kind)
                int8 = to_unsigned(signed, non_negative) if kind == "fp32" else signed
                contents[node.name, name] = int8.SerializeToString(deterministic=True)
                kept = contents[node.name, name] if kind == "fp32" else kept
            upstream.append(node, kept)
            non_negative |= {*node.outputs} & non_negative_tensors(exact, non_negative)
    return write_int8(source, out, files, contents, _record(images, setting))


def write_int8(
    source: Bundle,
    out: Path,
    kinds: Mapping[str, str],
    contents: Mapping[tuple[str, str], bytes],
    record: str,
) -> QuantReport:
    """Write a copy of a bundle with these INT8 files, and with what they answer.

    Args:
        source: with float32 files; INT8 files that it has are replaced.
        out: folder to create.
        kinds: kind of a float file -> kind of the INT8 file made of it, see `QuantSetting.files`.
        contents: of the INT8 files, by network and kind; the other networks stay in float.
        record: text of `calibration.json`.

    Raises:
        UsageError: ``out`` exists.
    """
    spec, golden_NSS3 = source.spec, golden_images(source)
    with new_folder(out) as new:
        folder = new.path
        source.copy_to(folder, without=_written_anew(spec))
        for (network, kind), content in contents.items():
            (folder / f"{network}.{kind}.onnx").write_bytes(content)
        quantised = _with_int8(spec, kinds, {network for network, _ in contents})
        (folder / CASCADE).write_text(spec_to_json(quantised))
        if (card := folder / MODEL_CARD).is_file():
            before, after = (", ".join(m.file_kinds()) for m in (spec, quantised))
            text = without_part(card.read_text(), COST_TITLE)  # it was of other files
            card.write_text(text.replace(f"- Precisions: {before}\n", f"- Precisions: {after}\n"))
        tolerances = _json(source, TOLERANCES) | {"int8": asdict(ACCEPTANCE)}
        (folder / TOLERANCES).write_text(json.dumps(tolerances) + "\n")
        (folder / CALIBRATION).write_text(record)
        write_hashes(folder)
        bundle = Bundle(folder)
        # What the files say, and not what this processor makes of it: its sums may saturate.
        with Chain.of(bundle, OnnxRuntimeBackend(fused=False), "int8") as chain:
            (folder / CASES_INT8).write_bytes(_answers(chain, golden_NSS3))
        write_hashes(folder)
        new.keep()
        return QuantReport(_sizes(bundle, "fp32"), _sizes(bundle, "int8.cpu"))


def planned_layers(
    source: Bundle, node: NodeSpec, setting: QuantSetting, kind: str = "fp32"
) -> list[str]:
    """Names of the layers of a network that a setting quantises; empty if it stays in float.

    ``kind`` is the kind of the file that they are named in.

    Raises:
        UsageError: the setting names a network or part that does not exist.
    """
    names = [n.name for n in source.spec.nodes]
    for kept in setting.keep_float:
        if kept.partition("/")[0] not in names:
            raise UsageError(f"no network {kept!r} in {source.path}; it has {', '.join(names)}")
    if node.name in setting.keep_float:
        return []
    model = network_of(source, node, kind)
    layers = quantised_layers(model, set(source.spec.outputs.names()), setting.residual_adds)
    groups = layer_groups(model, layers)
    for kept in setting.keep_float:
        network, _, part = kept.partition("/")
        if network == node.name and groups.pop(part, None) is None:
            raise UsageError(f"{network} has no part {part!r}; it has {', '.join(groups)}")
    return [layer for layer in layers if any(layer in group for group in groups.values())]


def _answers(chain: Chain, images_NSS3: NDArray[np.uint8]) -> bytes:
    """The golden cases with the answers of the INT8 networks."""
    runs = [chain.run_all(image_SS3) for image_SS3 in images_NSS3]
    names = chain.spec.outputs.names()
    return pack_cases(
        images_NSS3, {name: np.concatenate([run[name] for run in runs]) for name in names}
    )


def _written_anew(spec: CascadeSpec) -> set[str]:
    """Names of the files that an earlier INT8 left behind, and of those that tell of it."""
    files = [item for node in spec.nodes for item in node.files.items()]
    kept = {file for kind, file in files if not kind.startswith("int8")}
    stale = {file for _, file in files} - kept  # a network in float lists its float file as INT8
    return {CASCADE, CALIBRATION, CASES_INT8} | stale


def _with_int8(
    spec: CascadeSpec, files: Mapping[str, str], changed: Collection[str]
) -> CascadeSpec:
    """The spec with INT8 files; the INT8 file of a network that stays in float is its float one."""

    def of_float(by_kind: Mapping[str, Any]) -> dict[str, Any]:
        return {kind: value for kind, value in by_kind.items() if not kind.startswith("int8")}

    nodes = []
    for node in spec.nodes:
        named = {
            int8: f"{node.name}.{int8}.onnx" if node.name in changed else node.files[kind]
            for kind, int8 in files.items()
        }
        nodes.append(replace(node, files=of_float(node.files) | named))
    dtypes = {
        tensor: of_float(of) | {int8: of[kind] for kind, int8 in files.items()}
        for tensor, of in spec.dtypes.items()
    }
    return replace(spec, nodes=tuple(nodes), dtypes=dtypes)


def _record(images: Mapping[str, Path], setting: QuantSetting) -> str:
    versions = {package: version(package) for package in ("onnx", "onnxruntime")}
    return json.dumps({**asdict(setting), "images": list(images), "versions": versions}) + "\n"


def _json(bundle: Bundle, name: str) -> dict[str, Any]:
    try:
        return dict(parse_json(bundle.read(name)))
    except (ValueError, TypeError) as error:
        raise BundleError(f"{bundle.path}: {name} is no JSON object ({error})") from error


def _sizes(bundle: Bundle, kind: str) -> dict[str, int]:
    return {n.name: bundle.files[n.files[kind]].size for n in bundle.spec.nodes}

"""Make a bundle: fold and export every node, wire them, prove the chain, record golden cases."""

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckd.contract.bundle import CASCADE, Bundle, check_new, move_new
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.errors import GateFailed, UsageError
from ckd.contract.hashes import write_hashes
from ckd.contract.labels import headline_tasks
from ckd.contract.spec import CascadeSpec, NodeSpec
from ckd.contract.tensors import DType
from ckd.contract.wiring import IMAGE
from ckd.export.folds import count_macs, folded
from ckd.export.model_card import Evidence, model_card
from ckd.export.onnx import TORCH_DTYPES, export_onnx
from ckd.export.parity import TOLERANCE, TensorParity, check_parity, expected_tensors, parity_images
from ckd.runtime.acceptance import CASES, TOLERANCES, Tolerance, pack_cases, run_acceptance
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.train.systems.graph import System, tensor_shapes

#: Type of what crosses between the networks, by the precision of their files.
EDGE_DTYPES: Mapping[str, DType] = {"fp32": "float32", "fp16": "float16"}

#: By the precision computed in. In FP32 rounding may move a border pixel; half precision keeps 11
#: bits, bfloat16 8. Class maps of a trained MobileNetV2 cascade were seen 0.001, 0.04 and 0.28 off.
ACCEPTANCE = {
    "fp32": Tolerance(mask_jaccard=0.99, probability=0.005, class_map=0.05),
    "fp16": Tolerance(mask_jaccard=0.98, probability=0.02, class_map=0.5),
    "bf16": Tolerance(mask_jaccard=0.95, probability=0.05, class_map=1.0),
}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was proved of a bundle when it was written.

    Attributes:
        parity: by precision, how far each tensor of the chain lies from PyTorch's in FP32.
        macs_trained: multiply-accumulates of an image in the system as trained.
        macs_exported: in the networks of the bundle, see `ckd.export.folds`.
    """

    parity: Mapping[str, tuple[TensorParity, ...]]
    macs_trained: int
    macs_exported: int


def write_bundle(
    system: System,
    out: Path,
    *,
    name: str,
    provenance: Mapping[str, Any],
    evidence: Evidence | None = None,
    precisions: Sequence[str] = ("fp32",),
    progress: Progress | None = None,
) -> ExportReport:
    """Write a bundle folder, or nothing if the exported chain disagrees with PyTorch.

    Args:
        system: trained.
        out: folder to create.
        name: of the bundle.
        provenance: where the weights come from; goes into `cascade.json` and the model card.
        evidence: scores, learning curves and notes for the model card.
        precisions: of the files to write for each network, "fp32" and "fp16".
        progress: told (what is being done, step, number of steps).

    Raises:
        GateFailed: a chain disagrees with PyTorch.
        UsageError: ``out`` exists, or an unknown precision.
    """
    if unknown := [p for p in precisions if p not in TORCH_DTYPES]:
        raise UsageError(f"unknown precision {unknown[0]!r}; expected {', '.join(TORCH_DTYPES)}")
    if "fp32" not in precisions:
        raise UsageError("a bundle holds fp32 files, which every backend takes; add fp32")
    check_new(out)
    tell = progress or (lambda what, step, steps: None)
    system.eval()
    deployed = folded(system)
    out.parent.mkdir(parents=True, exist_ok=True)
    steps = (len(system.nodes) + 1) * len(precisions) + 1
    # Built beside its destination and renamed at the end: an interrupted export leaves no bundle.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle-") as made:
        folder = Path(made) / "bundle"
        (folder / "acceptance").mkdir(parents=True)
        wanted = itertools.product(precisions, deployed.nodes)
        for step, (precision, node) in enumerate(wanted):
            tell(f"export {node.name}", step, steps)
            export_onnx(node, deployed, folder / _file(node.name, precision), precision)
        spec = _manifest(system, name, provenance, precisions)
        (folder / CASCADE).write_text(spec_to_json(spec))
        images = parity_images(system.image_size)
        expected = expected_tensors(system, deployed, images)
        answers = {tensor: expected[tensor] for tensor in spec.outputs.names()}
        (folder / CASES).write_bytes(pack_cases(images, answers))
        (folder / TOLERANCES).write_text(
            json.dumps({precision: asdict(limits) for precision, limits in ACCEPTANCE.items()})
            + "\n"
        )
        evidence = evidence or Evidence()
        (folder / "model_card.md").write_text(model_card(spec, evidence))
        if evidence.scores is not None:
            scores = json.dumps(evidence.scores, indent=2)
            (folder / "evaluation.json").write_text(scores + "\n")
        if evidence.learning_curves is not None:
            shutil.copy(evidence.learning_curves, folder / evidence.learning_curves.name)
        write_hashes(folder)
        bundle = Bundle(folder)
        parity = {}
        for done, precision in enumerate(precisions, steps - len(precisions) - 1):
            tell(f"compare {precision} with PyTorch", done, steps)
            with Cascade(bundle, open_backend("onnxruntime", "cpu", None), precision) as cascade:
                parity[precision] = tuple(
                    check_parity(cascade, images, expected, TOLERANCE[precision])
                )
                _check_acceptance(cascade, bundle)
        tell("done", steps, steps)
        move_new(folder, out)
    return ExportReport(parity, count_macs(system), count_macs(deployed))


def verify_bundle(path: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Repeat every check that needs no PyTorch: hashes, wiring, shapes, acceptance cases.

    Raises:
        BundleError: a file is missing or changed, or the wiring does not fit.
        EngineError: a network cannot be loaded, or has other inputs and outputs than promised.
        GateFailed: an acceptance case did not come out as recorded.
    """
    tell = progress or (lambda what, step, steps: None)
    tell("hashes", 0, 3)
    bundle = Bundle(path)
    bundle.verify()
    tell("load networks", 1, 3)
    cases = {}
    backend = open_backend("onnxruntime", "cpu", None)
    held = bundle.spec.file_kinds()
    for precision in (p for p, files in backend.precisions.items() if files in held):
        with Cascade(bundle, backend, precision) as cascade:
            tell("acceptance cases", 2, 3)
            cases[precision] = _check_acceptance(cascade, bundle)
    tell("done", 3, 3)
    return {
        "bundle": str(path),
        "name": bundle.spec.name,
        "sha256": bundle.digest(),
        "num_files": len(bundle.files),
        "num_bytes": bundle.num_bytes(),
        "cases": cases,
    }


def _check_acceptance(cascade: Cascade, bundle: Bundle) -> list[dict[str, Any]]:
    cases = run_acceptance(cascade.chain, bundle)
    failed = [case for case in cases if not case.passed]
    if failed:
        raise GateFailed(
            f"{bundle.path}: {len(failed)} of {len(cases)} acceptance cases failed on "
            f"{cascade.backend.name}; the first: {failed[0].as_dict()}"
        )
    return [case.as_dict() for case in cases]


def _manifest(
    system: System, name: str, provenance: Mapping[str, Any], precisions: Sequence[str]
) -> CascadeSpec:
    shapes = dict(tensor_shapes(system))
    shapes[IMAGE] = (1, system.image_size, system.image_size, 3)
    return CascadeSpec(
        name=name,
        system=system.name,
        labels=system.labels,
        tasks=headline_tasks(system.tasks, system.labels),
        shapes=shapes,
        dtypes={
            t: {p: "uint8" if t == IMAGE else EDGE_DTYPES[p] for p in precisions} for t in shapes
        },
        nodes=tuple(
            NodeSpec(
                node.name, node.inputs, node.outputs, {p: _file(node.name, p) for p in precisions}
            )
            for node in system.nodes
        ),
        outputs=system.outputs,
        # The official scorers cut diagnoses at one half.
        thresholds={"mask": system.mask_threshold, **dict.fromkeys(system.labels, 0.5)},
        provenance=provenance,
    )


def _file(node: str, precision: str) -> str:
    return f"{node}.{precision}.onnx"

"""`cascade.json`: how a bundle's networks are wired, in a form that no stage needs code to read.

The runtime knows no node by name. It reads here which file holds a node, which tensors enter and
leave it, and which tensors are answers. Edges are implied: a tensor runs from the node that lists
it as an output to every node that lists it as an input.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from ckd.contract.errors import BundleError
from ckd.contract.tensors import DType, TensorSpec

#: Raised when a reader of the old number would misread the new content.
SCHEMA: Final = 1

Precision = Literal["fp32", "bf16", "fp16", "int8"]
#: The one tensor that comes from outside: uint8 RGB, [1, H, W, 3].
IMAGE: Final = "image"


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One sub-network: names of what goes in and out, and its file for each precision."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ResultSpec:
    """Which tensors are answers; None where the system gives no such answer.

    ``coarse_align_corners``: see `ckd.contract.preprocess.mask_from_logits`.
    """

    class_logits: str | None = None
    mask_logits: str | None = None
    coarse_logits: str | None = None
    coarse_align_corners: bool = False

    def names(self) -> tuple[str, ...]:
        """The tensors that are answers."""
        names = (self.class_logits, self.mask_logits, self.coarse_logits)
        return tuple(name for name in names if name is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a runtime must know of a cascade; refuses to exist if it does not fit together.

    Attributes:
        name: of the bundle, such as "ckdnet-mobile".
        system: such as "ckdnet".
        labels: class names in the order of the class logits.
        tasks: labels that count in the headline AUC.
        shapes: of every tensor, batch axis included.
        dtypes: of every tensor, for each precision of the node that makes it.
        nodes: in running order.
        thresholds: probability above which a pixel is lesion ("mask") or a label is decided on.
        provenance: where the weights come from: data, licence, command, date, versions.
    """

    name: str
    system: str
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, Mapping[str, DType]]
    nodes: tuple[NodeSpec, ...]
    results: ResultSpec
    thresholds: Mapping[str, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = {IMAGE}
        for node in self.nodes:
            for name in (*node.inputs, *node.outputs):
                if name not in self.shapes or name not in self.dtypes:
                    raise BundleError(
                        f"cascade.json: {node.name}: tensor {name!r} is not described"
                    )
            if missing := [name for name in node.inputs if name not in known]:
                raise BundleError(
                    f"cascade.json: {node.name} needs {', '.join(missing)}, "
                    "which no node before it produces"
                )
            known |= set(node.outputs)
            if not node.files:
                raise BundleError(f"cascade.json: {node.name} names no file")
        for name in self.results.names():
            if name not in known:
                raise BundleError(f"cascade.json: no node produces the result {name!r}")
        if self.results.class_logits is not None:
            shape = self.shapes[self.results.class_logits]
            if shape != (1, len(self.labels)):
                raise BundleError(
                    f"cascade.json: {len(self.labels)} labels, but {self.results.class_logits} "
                    f"has shape {list(shape)}"
                )
        if len(self.shapes[IMAGE]) != 4 or self.shapes[IMAGE][1] != self.shapes[IMAGE][2]:
            raise BundleError(f"cascade.json: image has shape {list(self.shapes[IMAGE])}")

    @property
    def image_size(self) -> int:
        """Side of the square network input in pixels."""
        return self.shapes[IMAGE][1]

    def precisions(self) -> tuple[str, ...]:
        """Precisions that every node has a file for."""
        return tuple(p for p in get_args(Precision) if all(p in node.files for node in self.nodes))

    def spec(self, tensor: str, precision: str) -> TensorSpec:
        """Shape and type of a tensor when its producer runs at ``precision``."""
        return TensorSpec(tensor, self.shapes[tensor], self.dtypes[tensor][precision])

    def to_json(self) -> str:
        """The text of `cascade.json`."""
        results = self.results
        tree = {
            "schema": SCHEMA,
            "name": self.name,
            "system": self.system,
            "labels": self.labels,
            "tasks": self.tasks,
            "preprocess": {"colour": "RGB", "resize": "area, squashed", "size": self.image_size},
            "thresholds": self.thresholds,
            "tensors": {
                name: {"shape": shape, "dtype": self.dtypes[name]}
                for name, shape in self.shapes.items()
            },
            "nodes": [
                {"name": n.name, "inputs": n.inputs, "outputs": n.outputs, "files": n.files}
                for n in self.nodes
            ],
            "results": {
                "class_logits": results.class_logits,
                "mask_logits": results.mask_logits,
                "coarse_logits": results.coarse_logits,
                "coarse_align_corners": results.coarse_align_corners,
            },
            "provenance": self.provenance,
        }
        return json.dumps(tree, indent=2) + "\n"


def manifest_from_json(text: str | bytes) -> Manifest:
    """Read `cascade.json`.

    Raises:
        BundleError: not JSON, an unknown schema, a missing key, or wiring that does not fit.
    """
    try:
        tree = json.loads(text)
        schema = tree["schema"]
        if schema != SCHEMA:
            raise BundleError(
                f"cascade.json: schema {schema!r}, this version of ckd reads {SCHEMA}; "
                "export the bundle anew or install the ckd that made it"
            )
        return Manifest(
            name=str(tree["name"]),
            system=str(tree["system"]),
            labels=tuple(tree["labels"]),
            tasks=tuple(tree["tasks"]),
            shapes={name: tuple(t["shape"]) for name, t in tree["tensors"].items()},
            dtypes={name: dict(t["dtype"]) for name, t in tree["tensors"].items()},
            nodes=tuple(
                NodeSpec(n["name"], tuple(n["inputs"]), tuple(n["outputs"]), dict(n["files"]))
                for n in tree["nodes"]
            ),
            results=ResultSpec(**tree["results"]),
            thresholds={name: float(value) for name, value in tree["thresholds"].items()},
            provenance=dict(tree["provenance"]),
        )
    except json.JSONDecodeError as error:
        raise BundleError(f"cascade.json: not JSON ({error})") from error
    except KeyError as error:
        raise BundleError(f"cascade.json: {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise BundleError(f"cascade.json: malformed ({error})") from error

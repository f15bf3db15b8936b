"""What a cascade is made of: its networks, how they are wired, and which tensors are outputs.

No code of the runtime depends on names of nodes. The spec says which file holds a node, which
tensors enter and leave it, and which tensors are outputs of the cascade. Edges are implied: a
tensor runs from the node that lists it as an output to every node that lists it as an input.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, get_args

from ckd.contract.errors import BundleError
from ckd.contract.tensors import DType, TensorSpec
from ckd.contract.wiring import IMAGE, check_wiring

#: Kinds of files that a network can have. "int8" is for TensorRT: signed, with all other operations
#: and the tensors between the networks in half precision. "int8.cpu" is for CPU kernels: unsigned,
#: with all other operations in float32.
FileKind = Literal["fp32", "fp16", "int8", "int8.cpu"]
#: Largest tensor that is accepted, so that a damaged shape gives a message and no full memory.
MAX_TENSOR_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One sub-network: names of its input and output tensors, and its file of each kind.

    Where INT8 would cost a network too much accuracy, its INT8 file is its float file: both have
    the same inputs and outputs.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """Which tensors are outputs of the cascade; None where it has no such output.

    Attributes:
        exclusive: an image is of exactly one label (softmax); otherwise each label is a question of
            its own (sigmoid) and an image may be of none.
        mask_logits: [1, 1, height, width] of the squashed image, at its size or a smaller one.
        class_map: [1, labels, height, width], what each place adds to each label's logit.
        coarse_align_corners: see `ckd.finding.logits.mask_from_logits`.
        features: [1, channels], what the last layer of the classifier reads, pooled over places.
    """

    class_logits: str | None = None
    mask_logits: str | None = None
    coarse_logits: str | None = None
    coarse_align_corners: bool = False
    exclusive: bool = True
    class_map: str | None = None
    features: str | None = None

    def names(self) -> tuple[str, ...]:
        """The tensors that are outputs."""
        names = (
            self.class_logits, self.mask_logits, self.coarse_logits, self.class_map, self.features,
        )  # fmt: skip
        return tuple(name for name in names if name is not None)

    def renamed(self, new: Callable[[str], str | None]) -> "OutputSpec":
        """The same outputs in other tensors; where ``new`` gives None, the output is dropped."""

        def of(name: str | None) -> str | None:
            return None if name is None else new(name)

        return replace(
            self,
            class_logits=of(self.class_logits),
            mask_logits=of(self.mask_logits),
            coarse_logits=of(self.coarse_logits),
            class_map=of(self.class_map),
            features=of(self.features),
        )


#: Of all sections that are known, in the order in which one rests on the other.
SECTION_NAMES: Final = (
    "outcome", "mask", "probabilities", "points", "sets", "refer", "capture",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the description that not every bundle has.

    Attributes:
        content: values that JSON can express.
        informative: True if no output depends on the section, so that a runtime that does not know
            it may ignore it; otherwise such a runtime refuses the bundle.
    """

    content: Mapping[str, Any]
    informative: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CascadeSpec:
    """Everything that a runtime must know about a cascade; its parts are checked when it is made.

    Attributes:
        name: name of the bundle, such as "ckdnet-mobile".
        system: name of the system, such as "ckdnet".
        labels: class names in the order of the class logits.
        tasks: labels whose AUCs are averaged in the headline figure.
        shapes: shape of every tensor, batch axis included.
        dtypes: type of every tensor, for each kind of file of the node that writes it.
        nodes: the networks in running order.
        outputs: which tensors are outputs.
        mask_threshold: probability above which a pixel is lesion.
        provenance: where the weights come from: data, licence, command, date, versions.
        sections: optional parts, by name.
        serial: number of this release, so that a device can refuse older ones; 0 for none.
    """

    name: str
    system: str
    labels: tuple[str, ...]
    tasks: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, Mapping[str, DType]]
    nodes: tuple[NodeSpec, ...]
    outputs: OutputSpec
    mask_threshold: float = 0.5
    provenance: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Section] = field(default_factory=dict)
    serial: int = 0

    def __post_init__(self) -> None:
        self._check_names()
        self._check_wiring()
        self._check_tensors()
        self._check_outputs()
        if type(self.serial) is not int or not 0 <= self.serial < 10**18:
            raise _wrong(f"the serial number is {str(self.serial)[:40]!r}, no whole number")
        if not 0.0 < self.mask_threshold < 1.0:
            raise _wrong(f"the mask threshold is {self.mask_threshold}, not between 0 and 1")

    def _check_names(self) -> None:
        nodes = [node.name for node in self.nodes]
        for what, names in (("node", nodes), ("label", self.labels), ("tensor", [*self.shapes])):
            for name in names:
                # Names are printed, so no line breaks or escape sequences.
                if not isinstance(name, str) or not name or not name.isprintable():
                    raise _wrong(f"{name!r} is no name for a {what}")
            if len(set(names)) < len(names):
                raise _wrong(f"two of the {what}s {', '.join(names)} have one name")
        if unknown := set(self.tasks) - set(self.labels):
            raise _wrong(f"the task {min(unknown)!r} is no label")
        for name in (self.name, self.system):
            # It may become that of a folder.
            is_path = "/" in name or "\\" in name or name in (".", "..")
            if not name or not name.isprintable() or is_path:
                raise _wrong(f"{name!r} is no name")

    def _check_wiring(self) -> None:
        if not self.nodes:
            raise _wrong("there are no nodes")
        for node in self.nodes:
            if not all(isinstance(file, str) for file in node.files.values()):
                raise _wrong(f"the files of {node.name} are not names")
        try:
            known = check_wiring(self.nodes, self.outputs.names())
        except ValueError as error:
            raise _wrong(str(error)) from error
        if nameless := known - set(self.shapes):
            raise _wrong(f"tensor {min(nameless)!r} is not described")
        if unused := set(self.shapes) - known:
            raise _wrong(f"no node produces the tensor {min(unused)!r}")
        if not self.file_kinds():
            raise _wrong("there is no kind of file that every node has")

    def _check_tensors(self) -> None:
        for precision in self.file_kinds():
            for name in self.shapes:
                if precision not in self.dtypes.get(name, {}):
                    raise _wrong(f"tensor {name!r} has no type in {precision}")
                try:
                    spec = self.tensor(name, precision)
                except ValueError as error:
                    raise _wrong(str(error)) from error
                if spec.num_bytes > MAX_TENSOR_BYTES:
                    raise _wrong(f"{spec} is over {MAX_TENSOR_BYTES >> 20} MiB")
            image = self.tensor(IMAGE, precision)
            side = image.shape[1] if len(image.shape) == 4 else 1
            if image != TensorSpec(IMAGE, (1, side, side, 3), "uint8"):
                raise _wrong(f"the image is {image}, expected uint8[1, side, side, 3]")

    def _check_outputs(self) -> None:
        outputs = self.outputs
        for what in ("exclusive", "coarse_align_corners"):
            if not isinstance(getattr(outputs, what), bool):
                raise _wrong(f"{what} is {getattr(outputs, what)!r}, expected true or false")
        name = outputs.class_logits
        if name is not None and (shape := self.shapes[name]) != (1, len(self.labels)):
            raise _wrong(f"{len(self.labels)} labels, but {name} has shape {list(shape)}")
        name = outputs.class_map
        if name is not None:
            if outputs.class_logits is None:
                raise _wrong(f"{name} explains class logits, and there are none")
            shape = self.shapes[name]
            if len(shape) != 4 or shape[:2] != (1, len(self.labels)):
                raise _wrong(f"{len(self.labels)} labels, but {name} has shape {list(shape)}")
        name = outputs.features
        if name is not None:
            if outputs.class_logits is None:
                raise _wrong(f"{name} is what class logits are made of, and there are none")
            if len(shape := self.shapes[name]) != 2 or shape[0] != 1:
                raise _wrong(f"{name} has shape {list(shape)}, expected [1, channels]")
        for name in (outputs.mask_logits, outputs.coarse_logits):
            if name is not None and (len(shape := self.shapes[name]) != 4 or shape[:2] != (1, 1)):
                raise _wrong(f"{name} has shape {list(shape)}, expected [1, 1, height, width]")

    @property
    def image_size(self) -> int:
        """Side of the square network input in pixels."""
        return self.shapes[IMAGE][1]

    def node(self, name: str) -> NodeSpec:
        """The node of that name.

        Raises:
            KeyError: no node has this name.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    def file_kinds(self) -> tuple[str, ...]:
        """Kinds of files that every node has."""
        return tuple(k for k in get_args(FileKind) if all(k in node.files for node in self.nodes))

    def tensor(self, name: str, file_kind: str) -> TensorSpec:
        """Shape and type of a tensor when the file of its producer is of ``file_kind``."""
        return TensorSpec(name, self.shapes[name], self.dtypes[name][file_kind])


def _wrong(what: str) -> BundleError:
    return BundleError(f"cascade.json: {what}")

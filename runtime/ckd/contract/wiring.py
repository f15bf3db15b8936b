"""How networks are connected by named tensors; training and the device use the same check.

A tensor runs from the node that lists it as an output to every node that lists it as an input.
"""

from collections.abc import Collection, Iterable
from typing import Final, Protocol

#: The input of the whole graph: uint8 RGB, [1, H, W, 3].
IMAGE: Final = "image"


class Wired(Protocol):
    """A node of the graph, with the names of its input and output tensors."""

    @property
    def name(self) -> str:
        """Name of the node."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Tensors it reads."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Tensors it writes."""


def check_wiring(nodes: Iterable[Wired], outputs: Collection[str]) -> set[str]:
    """Check nodes in running order; gives the names of all tensors, `IMAGE` among them.

    Args:
        nodes: in running order.
        outputs: tensors that are outputs of the whole graph.

    Raises:
        ValueError: two nodes or two tensors have the same name, a node reads a tensor that no node
            before it writes, or no node writes an output.
    """
    known, names = {IMAGE}, set[str]()
    for node in nodes:
        if node.name in names:
            raise ValueError(f"two nodes are named {node.name}")
        names.add(node.name)
        if missing := [name for name in node.inputs if name not in known]:
            raise ValueError(f"{node.name} needs {missing[0]!r}, which no node before it produces")
        for name in node.outputs:
            if name in known:
                raise ValueError(f"{node.name} produces {name!r}, which exists before it")
            known.add(name)
    for name in outputs:
        if name not in known:
            raise ValueError(f"no node produces the output {name!r}")
    return known

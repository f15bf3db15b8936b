"""Recording of work instead of doing it, with CUDA's rules for what may be recorded."""

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.runtime.cuda.fake_device import Task


class CaptureError(Exception):
    """CUDA's name of what went wrong while recording."""


@dataclass
class Node:
    """Recorded work: what it does, after which other nodes, and how its stream is weighted."""

    work: Callable[[], None]
    after: frozenset[int]
    weight: float


@dataclass(eq=False)
class Graph:
    nodes: list[Node]
    last_launch: list[Task] = field(default_factory=list)


@dataclass(eq=False)
class Capture:
    """What streams record between begin and end.

    Attributes:
        tails: of every stream that records, the nodes that its next one comes after.
    """

    origin: int
    nodes: list[Node] = field(default_factory=list)
    tails: dict[int, frozenset[int]] = field(default_factory=dict)
    broken_by: str | None = None

    def __post_init__(self) -> None:
        self.tails[self.origin] = frozenset()

    def add(self, stream: int, work: Callable[[], None], weight: float) -> None:
        self.check()
        self.nodes.append(Node(work, self.tails[stream], weight))
        self.tails[stream] = frozenset({len(self.nodes) - 1})

    def join(self, stream: int, after: frozenset[int]) -> None:
        """The stream's next node comes after these too; a stream from outside starts recording."""
        self.check()
        self.tails[stream] = self.tails.get(stream, frozenset()) | after

    def check(self) -> None:
        if self.broken_by is not None:
            raise CaptureError(f"STREAM_CAPTURE_INVALIDATED by {self.broken_by}")

    def end(self) -> Graph:
        """The graph, if every stream came back to the one that began."""
        self.check()
        reached = self._with_past(self.tails[self.origin])
        for stream, tail in self.tails.items():
            if not tail <= reached:
                raise CaptureError(
                    f"STREAM_CAPTURE_UNJOINED: stream {stream:#x} has work that stream "
                    f"{self.origin:#x} does not wait for"
                )
        return Graph(self.nodes)

    def _with_past(self, nodes: frozenset[int]) -> frozenset[int]:
        reached, fresh = nodes, nodes
        while fresh:
            fresh = frozenset().union(*(self.nodes[n].after for n in fresh)) - reached
            reached |= fresh
        return reached

"""Which engine runs on which stream and what it waits for; only the graph decides.

Networks that do not depend on each other get separate streams, so that the GPU can run them at the
same time. Each wait costs an event, so a step does not wait for work that has finished anyway: work
before it on its own stream, and work that one of its predecessors has waited for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE

#: Stands for the arrival of the image, on the first stream and before everything else. No node has
#: this name, because names are not empty.
ARRIVAL: Final = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One node's turn.

    Attributes:
        node: its name.
        stream: index of the stream that it is put into.
        waits_for: nodes on other streams, or `ARRIVAL`, that must have finished before it starts.
    """

    node: str
    stream: int
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """All nodes of a cascade in the order in which they are put into their streams.

    Attributes:
        joins: nodes that the first stream waits for at the end; then all nodes have finished.
    """

    steps: tuple[Step, ...]
    joins: tuple[str, ...] = ()

    @property
    def num_streams(self) -> int:
        """Number of streams; the image arrives on the first one."""
        return 1 + max(step.stream for step in self.steps)

    @property
    def awaited(self) -> frozenset[str]:
        """Nodes, or `ARRIVAL`, that a step or the first stream waits for; each needs an event."""
        return frozenset(self.joins).union(*(step.waits_for for step in self.steps))


def plan_streams(spec: CascadeSpec) -> StreamPlan:
    """Every node continues the stream of its latest producer, unless another node already does.

    A producer is a node that makes an input, or the arrival of the image. A node that cannot
    continue the stream of any producer gets a new stream, which starts with a wait: a stream that
    waits for nothing cannot be captured into a graph.
    """
    made_by = {name: node.name for node in spec.nodes for name in node.outputs}
    made_by[IMAGE] = ARRIVAL
    order = [ARRIVAL, *(node.name for node in spec.nodes)]
    tails = [ARRIVAL]  # the last step of every stream
    past = {ARRIVAL: frozenset({ARRIVAL})}  # step -> all steps that have finished when it has
    steps = []
    for node in spec.nodes:
        producers = {made_by[name] for name in node.inputs} or {ARRIVAL}
        latest_first = sorted(producers, key=order.index, reverse=True)
        tail = next((name for name in latest_first if name in tails), None)
        if tail is None:
            stream, over = len(tails), frozenset[str]()
            tails.append(node.name)
        else:
            stream, over = tails.index(tail), past[tail]
            tails[stream] = node.name
        waits_for = _not_implied(latest_first, over, past)
        past[node.name] = over.union({node.name}, *(past[name] for name in waits_for))
        steps.append(Step(node.name, stream, waits_for))
    ends = sorted(tails[1:], key=order.index, reverse=True)
    return StreamPlan(tuple(steps), _not_implied(ends, past[tails[0]], past))


def plan_one_stream(spec: CascadeSpec) -> StreamPlan:
    """One node after another on one stream, for engines that can run on that one only."""
    return StreamPlan(tuple(Step(node.name, 0) for node in spec.nodes))


def _not_implied(
    names: Collection[str], over: frozenset[str], past: dict[str, frozenset[str]]
) -> tuple[str, ...]:
    """Which of the names, latest first, must be waited for if those in ``over`` have finished."""
    needed = []
    for name in names:
        if name not in over:
            needed.append(name)
            over |= past[name]
    return tuple(needed)

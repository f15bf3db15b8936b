"""Which engine runs on which stream and what it waits for, read from the graph alone.

Networks that do not depend on each other get streams of their own, so that the GPU may run them
side by side. Waiting costs an event each, so nobody waits for what is over anyway: what went
before on the same stream, and what somebody it waited for had waited for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ckd.contract.spec import CascadeSpec
from ckd.contract.wiring import IMAGE

#: Stands for the arrival of the image, on the first stream and before everything else. No node has
#: this name: names are not empty.
ARRIVAL: Final = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One node's turn.

    Attributes:
        node: its name.
        stream: index of the stream it goes into.
        waits_for: nodes on other streams, or `ARRIVAL`, that must be over before it starts.
    """

    node: str
    stream: int
    waits_for: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """All nodes of a cascade in the order in which they are put into their streams.

    Attributes:
        joins: nodes that the first stream waits for in the end; then everything is over.
    """

    steps: tuple[Step, ...]
    joins: tuple[str, ...] = ()

    @property
    def num_streams(self) -> int:
        """The first stream, where the image arrives, and those beside it."""
        return 1 + max(step.stream for step in self.steps)

    @property
    def awaited(self) -> frozenset[str]:
        """What somebody waits for: this needs an event."""
        return frozenset(self.joins).union(*(step.waits_for for step in self.steps))


def plan_streams(spec: CascadeSpec) -> StreamPlan:
    """Every node continues the stream of its last producer, unless another node already did.

    A producer is the node that makes an input, or the arrival of the image. A node that can
    continue no producer's stream gets a new one, which starts by waiting: a stream that waits for
    nothing could not be captured into a graph.
    """
    made_by = {name: node.name for node in spec.nodes for name in node.outputs}
    made_by[IMAGE] = ARRIVAL
    order = [ARRIVAL, *(node.name for node in spec.nodes)]
    tails = [ARRIVAL]  # of every stream, what it does last
    past = {ARRIVAL: frozenset({ARRIVAL})}  # of everything, what is over once it is over
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
    """One node after another, for engines that are tied to a stream."""
    return StreamPlan(tuple(Step(node.name, 0) for node in spec.nodes))


def _not_implied(
    names: Collection[str], over: frozenset[str], past: dict[str, frozenset[str]]
) -> tuple[str, ...]:
    """Which of the names, latest first, must be waited for by someone for whom some are over."""
    needed = []
    for name in names:
        if name not in over:
            needed.append(name)
            over |= past[name]
    return tuple(needed)

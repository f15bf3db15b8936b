"""Streams and waits follow from the graph: enough of them for right answers, and no more."""

import itertools

import pytest
from tests.runtime.cuda.rig import CHAIN, CKDNET, DIAMOND, GRAPHS, Wiring, spec_of

from ckd.contract.bundle import Bundle
from ckd.contract.wiring import IMAGE
from ckd.runtime.cuda.schedule import (
    ARRIVAL,
    Step,
    StreamPlan,
    plan_one_stream,
    plan_streams,
)
from ckd.runtime.signed import embedded_bundle


def plan(wiring: Wiring) -> StreamPlan:
    return plan_streams(spec_of(wiring))


def test_the_image_only_half_of_ckdnet_runs_beside_the_other_networks() -> None:
    expected = StreamPlan(
        (
            Step("rootseg", 0),
            Step("cls", 0),
            Step("seg_encoder", 1, (ARRIVAL,)),
            Step("seg_decoder", 1, ("cls",)),
        ),
        joins=("seg_decoder",),
    )
    assert plan(CKDNET) == expected
    assert plan_streams(Bundle(embedded_bundle()).spec) == expected
    assert expected.num_streams == 2
    assert expected.awaited == {ARRIVAL, "cls", "seg_decoder"}


def test_a_chain_needs_one_stream_and_no_event() -> None:
    assert plan(CHAIN) == StreamPlan((Step("first", 0), Step("second", 0), Step("third", 0)))
    assert plan(CHAIN).awaited == frozenset()


def test_a_diamond_forks_and_joins() -> None:
    assert plan(DIAMOND) == StreamPlan(
        (
            Step("top", 0),
            Step("left", 0),
            Step("right", 1, ("top",)),
            Step("bottom", 1, ("left",)),
        ),
        joins=("bottom",),
    )


def test_nodes_that_only_need_the_image_get_a_stream_each() -> None:
    assert plan(GRAPHS["apart"]) == StreamPlan(
        (Step("one", 0), Step("two", 1, (ARRIVAL,)), Step("three", 2, (ARRIVAL,))),
        joins=("three", "two"),
    )


def test_nobody_waits_for_what_is_over_anyway() -> None:
    wiring: Wiring = {
        "a1": ((IMAGE,), ("x1",)),
        "a2": (("x1",), ("x2",)),
        "b": ((IMAGE,), ("y",)),
        "c": (("x1", "x2", "y", IMAGE), ("z",)),  # x1 is over once x2 is
        "d": (("x1", "z"), ("mask",)),  # c has waited for x1
    }
    steps = {step.node: step for step in plan(wiring).steps}
    assert steps["c"] == Step("c", 1, ("a2",))
    assert steps["d"] == Step("d", 1)
    assert plan(wiring).joins == ("d",)


def test_streams_that_were_waited_for_are_not_joined_again() -> None:
    wiring: Wiring = {
        "side": ((IMAGE,), ("s",)),
        "main": ((IMAGE,), ("m",)),
        "last": (("m", "s"), ("x",)),
        "end": (("x", "s"), ("mask",)),
    }
    # Order of running decides which stream is the first; here it ends long before the other.
    assert plan(wiring).joins == ("end",)
    turned: Wiring = {
        "main": ((IMAGE,), ("m",)),
        "side": ((IMAGE,), ("s",)),
        "again": (("m",), ("n",)),
        "end": (("s", "n"), ("mask",)),
    }
    assert plan(turned).steps[-1] == Step("end", 0, ("side",))
    assert plan(turned).joins == ()


def test_a_node_that_needs_nothing_still_starts_with_the_frame() -> None:
    wiring: Wiring = {"one": ((IMAGE,), ("a",)), "constant": ((), ("mask",))}
    assert plan(wiring).steps[1] == Step("constant", 1, (ARRIVAL,))


def test_one_stream_needs_no_event() -> None:
    single = plan_one_stream(spec_of(CKDNET))
    assert [step.node for step in single.steps] == list(CKDNET)
    assert single.num_streams == 1
    assert single.awaited == frozenset()


@pytest.mark.parametrize("name", GRAPHS)
def test_what_a_node_reads_is_over_and_what_it_does_not_need_is_not_waited_for(name: str) -> None:
    """By walking the streams: the order they enforce is exactly that of the graph, or stricter
    only along a stream."""
    wiring = GRAPHS[name]
    made_by = {out: node for node, (_, outputs) in wiring.items() for out in outputs}
    made_by[IMAGE] = ARRIVAL
    over: dict[str, set[str]] = {ARRIVAL: {ARRIVAL}}
    last = {0: ARRIVAL}
    for step in plan(wiring).steps:
        before = {last[step.stream]} if step.stream in last else set()
        past = set(itertools.chain(*(over[name] for name in before.union(step.waits_for))))
        producers = {made_by[tensor] for tensor in wiring[step.node][0]}
        assert producers <= past, step
        needed = set(itertools.chain(*(over[name] for name in producers)))
        assert past == needed, f"{step} waits for {past - needed}"
        over[step.node] = past | {step.node}
        last[step.stream] = step.node
    end = set(itertools.chain(*(over[n] for n in {last[0], *plan(wiring).joins})))
    assert end == {ARRIVAL, *wiring}

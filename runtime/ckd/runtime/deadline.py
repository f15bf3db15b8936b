"""A deadline: coarse mask first, diagnosis next, and the fine mask if there is time for it.

The networks of a cascade answer one after the other, so an answer that has to be there in time can
be made of the first ones. How long each part of the chain takes is learnt from the images before.

On a GPU the whole chain is one CUDA graph, which cannot be stopped half way: it is taken where it
fits, and else one network after the other, each waited for. A system whose first answer is no
coarse mask is run whole, and its answer says if it is late.

Suffix: S side of the square network input in pixels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import UsageError
from ckd.contract.spec import CascadeSpec
from ckd.finding.left_out import COARSE_MASK, DIAGNOSIS, FINE_MASK
from ckd.runtime.chain import Chain
from ckd.runtime.engine import DeviceRunner, Outputs
from ckd.runtime.stopwatch import Stopwatch

#: Of so many images the time that four of five stay below is expected of the next one.
_REMEMBERED: Final = 15
_QUANTILE: Final = 0.8
#: What was left out is expected to take so much less each time, so that it is tried again.
_HOPE: Final = 0.97
_LONGEST_MS: Final = 1e9
#: Names of steps that are no network.
_ALL_NETWORKS, _AFTER = "networks", ("postprocess", "capture")


def is_time(deadline_ms: object) -> bool:
    """Whether it is a number of milliseconds, more than 0 and not more than ten days."""
    if isinstance(deadline_ms, bool):
        return False
    if not isinstance(deadline_ms, int | float | np.integer | np.floating):
        return False
    return bool(0 < deadline_ms <= _LONGEST_MS)


@dataclass(frozen=True, slots=True)
class Part:
    """Networks in running order that end with an answer.

    Attributes:
        answers: what is there once they have run, from `ckd.finding.left_out`.
        nodes: their names.
    """

    answers: tuple[str, ...]
    nodes: tuple[str, ...]


def parts_of(spec: CascadeSpec) -> tuple[Part, ...]:
    """The parts of a chain, of which all but the first may be left out, from the end.

    It is one part where the first answer is no coarse mask.
    """
    outputs = spec.outputs
    answers = {
        outputs.coarse_logits: COARSE_MASK,
        outputs.class_logits: DIAGNOSIS,
        outputs.mask_logits: FINE_MASK,
    }
    parts: list[Part] = []
    nodes: list[str] = []
    for node in spec.nodes:
        nodes.append(node.name)
        if given := tuple(answers[name] for name in node.outputs if name in answers):
            parts.append(Part(given, tuple(nodes)))
            nodes = []
    if not nodes and parts and parts[0].answers == (COARSE_MASK,):
        return tuple(parts)
    every = tuple(answer for part in parts for answer in part.answers)
    return (Part(every, tuple(node.name for node in spec.nodes)),)


class Pace:
    """How long steps take, learnt from those that were timed."""

    def __init__(self) -> None:
        self._taken_ms: dict[str, deque[float]] = {}
        self._hope: dict[str, float] = {}

    def learn(self, step: str, taken_ms: float) -> None:
        """Take note of how long a step took.

        Of one that was tried in hope, and is quicker than before, all before is forgotten.
        """
        before = self._taken_ms.get(step, deque())
        if before and self._hope[step] < 1 and taken_ms < np.quantile(before, _QUANTILE):
            before.clear()
        self._taken_ms.setdefault(step, deque(maxlen=_REMEMBERED)).append(taken_ms)
        self._hope[step] = 1.0

    def expected_ms(self, steps: Sequence[str]) -> float:
        """How long steps will take together; one that never ran counts nothing, so it is tried."""
        known = [step for step in steps if step in self._taken_ms]
        return sum(
            self._hope[step] * float(np.quantile(self._taken_ms[step], _QUANTILE)) for step in known
        )

    def skip(self, steps: Sequence[str]) -> None:
        """Expect less of steps that were left out, so that they are tried again some time."""
        for step in steps:
            self._hope[step] = _HOPE * self._hope.get(step, 1.0)


class Hurry:
    """Runs as much of a chain as there is time for.

    Args:
        chain: to run.
    """

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.parts = parts_of(chain.spec)
        self._pace = Pace()

    def run(
        self, image_SS3: NDArray[np.uint8], watch: Stopwatch, deadline_ms: float
    ) -> tuple[Outputs, tuple[str, ...]]:
        """The outputs that there was time for, valid until the next run, and what was left out.

        Args:
            image_SS3: uint8 RGB.
            watch: started with the analysis of the image; told of every step.
            deadline_ms: by when the finding has to be there, on that watch.

        Raises:
            EngineError: an engine failed.
        """
        left_ms = deadline_ms - watch.elapsed_ms - self._pace.expected_ms(_AFTER)
        if len(self.parts) == 1 or self._fits_whole(left_ms):
            return self._chain.run(image_SS3, watch.lap), ()
        watch.lap("preprocess")
        done, steps = 0, self._chain.steps(image_SS3)
        for part in self.parts:
            left_ms = deadline_ms - watch.elapsed_ms - self._pace.expected_ms(_AFTER)
            if done and self._pace.expected_ms(part.nodes) > left_ms:
                break
            _advance(steps, part, watch)
            done += 1
        skipped = [node for part in self.parts[done:] for node in part.nodes]
        self._pace.skip([*skipped, _ALL_NETWORKS])
        return self._outputs(done), self._answers_from(done)

    def run_without(
        self, image_SS3: NDArray[np.uint8], watch: Stopwatch, left_out: Sequence[str]
    ) -> Outputs:
        """The outputs without those parts, as a recorded run had them.

        Raises:
            UsageError: these are not the last answers of the chain.
            EngineError: an engine failed.
        """
        counts = range(1, len(self.parts) + 1)
        done = next((n for n in counts if self._answers_from(n) == tuple(left_out)), None)
        if done is None:
            raise UsageError(f"{', '.join(left_out)} cannot be left out of this cascade")
        if done == len(self.parts):
            return self._chain.run(image_SS3, watch.lap)
        watch.lap("preprocess")
        steps = self._chain.steps(image_SS3)
        for part in self.parts[:done]:
            _advance(steps, part, watch)
        return self._outputs(done)

    def learn(self, watch: Stopwatch) -> None:
        """Learn from a finding that has been made how long its steps took."""
        taken_ms = watch.timings_ms()
        nodes = [node.name for node in self._chain.spec.nodes]
        for step in (_ALL_NETWORKS, *nodes, *_AFTER):
            if step in taken_ms:
                self._pace.learn(step, taken_ms[step])

    def written_by(self, left_out: Sequence[str]) -> frozenset[str]:
        """Names of the tensors that the networks of an answer without these parts wrote."""
        whole = [part for part in self.parts if not set(part.answers) & set(left_out)]
        ran = {node for part in whole for node in part.nodes}
        return frozenset(
            name for node in self._chain.spec.nodes if node.name in ran for name in node.outputs
        )

    def _fits_whole(self, left_ms: float) -> bool:
        """Whether to take a GPU's graph, all of whose networks are timed as one."""
        is_graph = isinstance(self._chain.runner, DeviceRunner)
        return is_graph and self._pace.expected_ms([_ALL_NETWORKS]) <= left_ms

    def _answers_from(self, done: int) -> tuple[str, ...]:
        return tuple(answer for part in self.parts[done:] for answer in part.answers)

    def _outputs(self, done: int) -> Outputs:
        written = self.written_by(self._answers_from(done))
        names = [name for name in self._chain.spec.outputs.names() if name in written]
        return {name: self._chain.buffers[name].read() for name in names}


def _advance(steps: Iterator[str], part: Part, watch: Stopwatch) -> None:
    for node in part.nodes:
        step = next(steps)
        assert step == node
        watch.lap(node)

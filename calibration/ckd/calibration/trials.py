"""Bundles with some of their networks in INT8, made to measure what they cost and gain."""

import statistics
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ckd.calibration.cost import Budget, Cost, answer, cost_of, groups_of
from ckd.calibration.cost_card import cost_text, exact_answers, record_cost
from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
from ckd.console import Bars
from ckd.contract.bundle import Bundle
from ckd.contract.whole_file import new_folder
from ckd.data.samples import SampleSet
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.cascade import Cascade
from ckd.runtime.stopwatch import Stopwatch

#: INT8 must take at most this share of the float32 time, or it is not worth what it costs.
WORTH_IT: Final = 0.9
_RUNS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One choice of what is in INT8, with what it costs and gains.

    Attributes:
        int8: networks in INT8.
        keep_float: as in `QuantSetting`.
        costs: by backend.
        speed_up: float32 time over INT8 time of the networks in INT8, each on the backend that is
            fastest with it.
        misses: why it was refused; empty if it passes.
    """

    int8: tuple[str, ...]
    keep_float: tuple[str, ...]
    costs: Mapping[str, Cost]
    speed_up: float
    misses: tuple[str, ...]

    @property
    def is_faster(self) -> bool:
        """Whether it is faster by enough to be worth what it costs."""
        return self.speed_up * WORTH_IT > 1.0

    def summary(self) -> str:
        """One line: what was tried, how fast it was, and what it cost."""
        choice = ", ".join(self.int8)
        choice += f" (float: {', '.join(self.keep_float)})" if self.keep_float else ""
        verdict = "; ".join(self.misses) or "within the budget"
        costs = "; ".join(f"{name}: {cost.summary()}" for name, cost in self.costs.items())
        return f"{choice}: {self.speed_up:.2f}x as fast, {verdict} ({costs})"

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return {
            "int8": self.int8,
            "keep_float": self.keep_float,
            "speed_up": round(self.speed_up, 3),
            "costs": {backend: cost.as_dict() for backend, cost in self.costs.items()},
            "misses": self.misses,
        }


class Bench:
    """Makes a bundle for a choice, and measures its cost and speed against float32."""

    def __init__(
        self,
        source: Bundle,
        images: Mapping[str, Path],
        samples: SampleSet,
        budget: Budget,
        setting: QuantSetting,
        bars: Bars,
    ) -> None:
        self.source, self.images, self.samples = source, images, samples
        self.budget, self.setting, self.bars = budget, setting, bars
        self.groups = groups_of(samples)
        self.tried: list[Trial] = []
        self.exact = exact_answers(source, samples, bars)

    def trial(self, int8: Mapping[str, Sequence[str]], out: Path | None = None) -> Trial:
        """Try networks in INT8, each with parts of it in float; write the bundle if it passes."""
        nodes = self.source.spec.nodes
        kept = tuple(node.name for node in nodes if node.name not in int8)
        parts = tuple(dict.fromkeys(part for names in int8.values() for part in names))
        setting = replace(
            self.setting,
            keep_float=(*self.setting.keep_float, *kept, *parts),
            tensorrt=self.setting.tensorrt and out is not None,
        )
        with new_folder(out or Path(tempfile.gettempdir()) / "trial") as new:
            path = new.path
            quantise_bundle(self.source, self.images, path, setting=setting, bars=self.bars)
            with ExitStack() as stack:
                racing = [
                    stack.enter_context(Cascade(bundle, open_backend(name, "cpu", None), precision))
                    for name in self.exact
                    for bundle, precision in ((self.source, "fp32"), (Bundle(path), "int8"))
                ]
                costs = {
                    cascade.backend.name: self._cost(cascade)
                    for cascade in racing
                    if cascade.precision == "int8"
                }
                times_ms = node_ms(racing)
            speed_up = _fastest_ms(racing, times_ms, "fp32", int8) / _fastest_ms(
                racing, times_ms, "int8", int8
            )
            misses = [
                f"{backend}: {miss}"
                for backend, cost in costs.items()
                for miss in cost.misses(self.budget)
            ]
            if speed_up * WORTH_IT <= 1.0:
                misses.append(f"only {speed_up:.2f} times as fast as float32 here")
            trial = Trial(
                int8=tuple(int8),
                keep_float=parts,
                costs=costs,
                speed_up=speed_up,
                misses=tuple(misses),
            )
            self.tried.append(trial)
            if out is not None and not misses:
                self._record(path, trial)
                new.keep()
        return trial

    def _cost(self, cascade: Cascade) -> Cost:
        rounded = answer(cascade.predict, self.samples, self.bars("INT8"))
        exact = self.exact[cascade.backend.name]
        return cost_of(rounded, exact, self.samples, self.source.spec, self.groups)

    def _record(self, bundle: Path, accepted: Trial) -> None:
        """Write the cost into the bundle: as JSON for programs, and into the model card."""
        images = f"{len(self.samples)} images of {self.samples.name}"
        how = (
            f"Lost against float32 on {images}, by the files for CPUs. The same images chose what\n"
            "stays in float, so this is the cost as fitted, not as found on new images:"
        )
        record = {
            "measured_on": images,
            "budget": asdict(self.budget),
            "accepted": accepted.as_dict(),
            "tried": [trial.as_dict() for trial in self.tried],
        }
        text = cost_text(accepted.int8, accepted.keep_float, accepted.costs, how)
        record_cost(bundle, text, record)


def node_ms(cascades: Sequence[Cascade]) -> list[dict[str, float]]:
    """Median time of every network for one image in milliseconds, after a warm-up.

    Cascades take turns, so that other work on the machine slows all of them alike.
    """
    side = cascades[0].spec.image_size
    grey_SS3 = np.full((side, side, 3), 128, np.uint8)
    for cascade in cascades:
        cascade.warmup()
    laps: list[dict[str, list[float]]] = [{n: [] for n in c.chain.engines} for c in cascades]
    for _ in range(_RUNS):
        for cascade, times in zip(cascades, laps, strict=True):
            watch = Stopwatch()
            cascade.chain.run(grey_SS3, watch.lap)
            laps_ms = watch.timings_ms()
            for name, samples_ms in times.items():
                samples_ms.append(laps_ms[name])
    return [{name: statistics.median(t) for name, t in times.items()} for times in laps]


def _fastest_ms(
    cascades: Sequence[Cascade],
    times_ms: Sequence[Mapping[str, float]],
    precision: str,
    names: Collection[str],
) -> float:
    """Total time of these networks on the backend that is fastest with them, in milliseconds."""
    return min(
        sum(times[name] for name in names)
        for cascade, times in zip(cascades, times_ms, strict=True)
        if cascade.precision == precision
    )

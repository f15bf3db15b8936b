"""Search for the networks, and parts of them, that INT8 makes faster for less than it may cost.

1. Every network alone in INT8. One that is not faster here stays in float.
2. In one that costs too much, its most sensitive parts go back to float: the worst one, the two
   worst, the four worst. If that does not help, or takes the gain, the network stays in float.
3. All that is left, together. While that costs too much, the network that used up most of its
   budget alone goes back to float; while it is too slow, the one that gained least.

Only a choice that passes is written.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ckd.calibration.cost import Budget
from ckd.calibration.images import check_apart
from ckd.calibration.int8_bundle import QuantSetting, planned_layers
from ckd.calibration.sensitivity import Effect, measure_sensitivity
from ckd.calibration.trials import WORTH_IT, Bench, Trial
from ckd.console import Bars, no_bars
from ckd.contract.bundle import Bundle, check_new
from ckd.contract.errors import GateFailed, InputError
from ckd.contract.labels import label_of
from ckd.contract.spec import CascadeSpec
from ckd.data.samples import SampleSet, numbered_as


def search(
    source: Bundle,
    images: Mapping[str, Path],
    samples: SampleSet,
    out: Path,
    *,
    budget: Budget,
    setting: QuantSetting,
    tell: Callable[[Trial], None] = lambda trial: None,
    bars: Bars = no_bars,
) -> Trial:
    """Write a bundle within the budget to ``out``, and return the trial that chose it.

    Args:
        source: with float32 files.
        images: to measure ranges on, by SHA-256.
        samples: held images with masks or labels; the cost is measured on them, against float32.
        out: bundle folder to create.
        budget: what may be lost.
        setting: how to quantise; what it keeps in float stays in float.
        tell: called with each trial when it is done.
        bars: begins one bar for each piece of work.

    Raises:
        InputError: an image is in both sets or cannot be read, or ``samples`` lack masks or classes
            that the cascade gives.
        UsageError: ``out`` exists.
        GateFailed: nothing in INT8 is both faster and within the budget.
    """
    check_new(out)
    exclusive = source.spec.outputs.exclusive
    samples = numbered_as(source.spec.labels, samples, exclusive=exclusive)
    check_judges(samples, source.spec)
    check_apart(images, samples)
    bench = Bench(source, images, samples, budget, setting, bars)
    accepted: dict[str, Trial] = {}
    effects: list[Effect] = []
    for node in source.spec.nodes:
        name = node.name
        if not planned_layers(source, node, setting):
            continue
        trial = bench.trial({name: ()})
        tell(trial)
        if trial.misses and trial.is_faster:
            effects = effects or measure_sensitivity(source, images, setting, bars=bars)
            for parts in _worst_parts(effects, name):
                trial = bench.trial({name: parts})
                tell(trial)
                if not trial.misses or not trial.is_faster:
                    break
        if not trial.misses:
            accepted[name] = trial
    while accepted:
        whole = bench.trial({name: trial.keep_float for name, trial in accepted.items()}, out)
        tell(whole)
        if not whole.misses:
            return whole
        if whole.is_faster:
            del accepted[max(accepted, key=lambda name: _share(accepted[name], budget))]
        else:
            del accepted[min(accepted, key=lambda name: accepted[name].speed_up)]
    raise GateFailed(
        f"nothing in INT8 is both {1 / WORTH_IT:.2f} times faster here and within the budget on "
        f"{len(samples)} images of {samples.name}; nothing was written"
    )


def _worst_parts(effects: Sequence[Effect], network: str) -> Iterator[tuple[str, ...]]:
    """The parts of a network that change the answers most: one, two, four."""
    parts = [e for e in effects if e.kind == "part" and e.name.partition("/")[0] == network]
    parts.sort(key=lambda e: -((e.probability_shift or 0.0) + (e.mask_change or 0.0)))
    for count in (1, 2, 4):
        if count < len(parts):
            yield tuple(part.name for part in parts[:count])


def _share(trial: Trial, budget: Budget) -> float:
    return max(cost.largest_share(budget) for cost in trial.costs.values())


def check_judges(samples: SampleSet, spec: CascadeSpec) -> None:
    """Check that every loss can be measured: a limit on one that cannot would always be kept."""
    outputs = spec.outputs
    if (outputs.mask_logits or outputs.coarse_logits) and not len(samples.with_masks()):
        raise InputError(f"{samples.name}: no masks, so what INT8 costs them cannot be told")
    if outputs.class_logits is None:
        return
    labels = {label_of(spec.labels, s.label) for s in samples.samples if s.label is not None}
    for task in spec.tasks:
        if task not in labels or labels == {task}:
            which = "every" if task in labels else "no"
            raise InputError(
                f"{samples.name}: {which} {samples.split} image is labelled {task}, so what INT8 "
                "costs its diagnosis cannot be told"
            )

"""The temperature of each precision that a bundle has, from how its rounded networks answer.

What is fitted on folds is about float32. Rounding moves the logits of the shipped networks a
little; where it makes them larger as a whole, it makes them surer, and the temperature takes that
back: the rounded logits times one factor are as near to the float32 ones as can be (least squares,
means taken off), and their temperature is that of float32 divided by the factor.

Suffixes: N photographs, K labels.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ckd.console import Bars
from ckd.contract.bundle import Bundle
from ckd.data.samples import Sample
from ckd.finding.probabilities import PRECISIONS, ProbabilityRule
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.chain import Chain

#: More move the factor by less than a thousandth.
MOST_PHOTOGRAPHS = 100


def temperatures_of(
    bundle: Bundle, rule: ProbabilityRule, samples: Sequence[Sample], bars: Bars
) -> Mapping[str, float]:
    """The temperature by precision; that of float32 where the bundle has no such files.

    Args:
        bundle: with any of FP16 and INT8 files, which ONNX Runtime runs here.
        rule: fitted in float32.
        samples: photographs that networks were trained on; the first `MOST_PHOTOGRAPHS` are used.
        bars: begins a bar for each precision.
    """
    name = bundle.spec.outputs.class_logits
    kinds = [kind.partition(".")[0] for kind in bundle.spec.file_kinds()]
    found = dict(rule.temperatures)
    rounded = [precision for precision in PRECISIONS[1:] if precision in kinds]
    if name is None or not rounded:
        return found
    images = [
        network_image(read_rgb(sample.image), bundle.spec.image_size)
        for sample in samples[:MOST_PHOTOGRAPHS]
    ]
    exact_NK = _logits(bundle, "fp32", images, name, bars)
    for precision in rounded:
        factor = _factor(
            exact_NK,
            _logits(bundle, precision, images, name, bars),
            exclusive=rule.is_exclusive,
        )
        found[precision] = round(rule.temperatures["fp32"] / factor, 4)
    return found


def _logits(
    bundle: Bundle, precision: str, images: Sequence[NDArray[np.uint8]], name: str, bars: Bars
) -> NDArray[np.float64]:
    progress, rows = bars(f"logits in {precision}"), []
    with Chain.of(bundle, open_backend("onnxruntime", "cpu", None), precision) as chain:
        for image_SS3 in images:
            rows.append(np.array(chain.run_all(image_SS3)[name][0], np.float64))
            progress(len(rows), len(images))
    return np.stack(rows)


def _factor(
    exact_NK: NDArray[np.float64], rounded_NK: NDArray[np.float64], *, exclusive: bool
) -> float:
    if exclusive:  # softmax does not see what is common to a photograph's logits
        exact_NK = exact_NK - exact_NK.mean(axis=1, keepdims=True)
        rounded_NK = rounded_NK - rounded_NK.mean(axis=1, keepdims=True)
    exact_NK, rounded_NK = exact_NK - exact_NK.mean(axis=0), rounded_NK - rounded_NK.mean(axis=0)
    return float((exact_NK * rounded_NK).sum() / np.square(rounded_NK).sum())

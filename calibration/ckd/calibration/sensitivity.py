"""How much the answers change when one part of a cascade loses precision and the rest keeps it.

No masks or labels are needed: every answer is compared with that of the float32 cascade on the same
image.

Suffixes: N images, K labels, h w a mask at network size.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from ckd.calibration.cpu_file import to_unsigned
from ckd.calibration.half_weights import network_of
from ckd.calibration.int8_bundle import QuantSetting, planned_layers
from ckd.calibration.placement import layer_groups
from ckd.calibration.upstream import Upstream
from ckd.console import Bars, no_bars
from ckd.contract.bundle import Bundle
from ckd.contract.confusion import confusion_from_masks
from ckd.contract.listed import Content
from ckd.contract.spec import NodeSpec
from ckd.contract.wiring import IMAGE
from ckd.finding.answers import Answers, answers_from_logits
from ckd.picture.decode import read_rgb
from ckd.picture.resize import network_image
from ckd.runtime.backends.selection import open_backend
from ckd.runtime.chain import Chain

Kind = Literal["network", "part", "edge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What INT8 in one place does to the answers, over all images.

    Attributes:
        kind: a whole network, a part of its layers, or a tensor between two networks.
        name: "network", "network/part" or the tensor's name.
        probability_shift: mean over images of the largest change of any class, if there are any.
        mask_change: 1 - mean Jaccard of the masks (fine; coarse if there is no other).
        worst_mask_change: of the image that suffers most.
    """

    kind: Kind
    name: str
    probability_shift: float | None
    mask_change: float | None
    worst_mask_change: float | None

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return asdict(self)


def measure_sensitivity(
    source: Bundle,
    images: Mapping[str, Path],
    setting: QuantSetting,
    num_compared: int = 32,
    bars: Bars = no_bars,
) -> list[Effect]:
    """The effect of every network, part and edge.

    Args:
        source: with float32 files.
        images: to measure ranges on, by SHA-256.
        setting: how to quantise; what it keeps in float is left out.
        num_compared: number of the images that are answered anew for every effect.
        bars: begins one bar for each network, and one for the answers.
    """
    paths = list(images.values())
    side = source.spec.image_size
    compared = [network_image(read_rgb(path), side) for path in paths[:num_compared]]
    with (
        Chain.of(source, open_backend("onnxruntime", "cpu", None), "fp32") as chain,
        Upstream(source.spec, images, bars) as upstream,
    ):
        exact = [_answer(chain, image) for image in compared]
        effects = []
        edges = sorted({name for node in source.spec.nodes for name in node.inputs} - {IMAGE})
        plan = [(node, *_parts(source, node, setting)) for node in source.spec.nodes]
        num_variants = sum(len(variants) for _, _, variants in plan)
        total = num_variants + len(edges)
        progress = bars("answers")
        variants = _variants(source, plan, setting, upstream)
        for done, (kind, name, node, content) in enumerate(variants, start=1):
            with chain.replaced(node.name, Content.of(content)):
                effects.append(_effect(kind, name, exact, [_answer(chain, i) for i in compared]))
            progress(done, total)
        for done, edge in enumerate(edges, start=num_variants + 1):
            rounded = [_answer(chain, image, edge) for image in compared]
            effects.append(_effect("edge", edge, exact, rounded))
            progress(done, total)
    return effects


def _parts(
    source: Bundle, node: NodeSpec, setting: QuantSetting
) -> tuple[onnx.ModelProto, dict[str, Sequence[str]]]:
    """A network, and the layers to quantise at a time: all of them, and those of each part."""
    layers = planned_layers(source, node, setting)
    model = network_of(source, node, "fp32")
    whole: dict[str, Sequence[str]] = {node.name: layers} if layers else {}
    groups = layer_groups(model, layers)
    return model, whole | {f"{node.name}/{part}": group for part, group in groups.items()}


def _variants(
    source: Bundle,
    plan: Sequence[tuple[NodeSpec, onnx.ModelProto, Mapping[str, Sequence[str]]]],
    setting: QuantSetting,
    upstream: Upstream,
) -> Iterator[tuple[Kind, str, NodeSpec, bytes]]:
    """Networks with one part in INT8, one by one: all of them would be many times the bundle."""
    for node, model, variants in plan:
        for name, group in variants.items():
            signed = upstream.quantise(node, model, group, setting.method)
            kind: Kind = "part" if "/" in name else "network"
            yield kind, name, node, to_unsigned(signed).SerializeToString()
        upstream.append(node, source.read(node.files["fp32"]))  # the others keep their precision


def _answer(chain: Chain, image_SS3: NDArray[np.uint8], rounded: str | None = None) -> Answers:
    """The answer to an image, with one tensor rounded to 8 bits between two networks."""
    for node in chain.steps(image_SS3):
        if rounded in chain.spec.node(node).outputs:
            buffer = chain.buffers[rounded]
            buffer.write(round_to_int8(buffer.read()))
    names, side = chain.spec.outputs.names(), chain.spec.image_size
    logits = {name: chain.buffers[name].read() for name in names}
    return answers_from_logits(chain.spec, logits, side, side)


def round_to_int8(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the symmetric grid of 255 steps that reaches the largest absolute number."""
    step = max(float(np.abs(values).max()) / 127, float(np.finfo(np.float32).tiny))
    return (np.round(values / step) * step).astype(np.float32)


def _effect(kind: Kind, name: str, exact: Sequence[Answers], rounded: Sequence[Answers]) -> Effect:
    shifts, changes = [], []
    for before, after in zip(exact, rounded, strict=True):
        if before.probabilities:
            shifted = after.probabilities
            shifts.append(max(abs(p - shifted[name]) for name, p in before.probabilities.items()))
        masks = [a.coarse_mask_HW if a.mask_HW is None else a.mask_HW for a in (before, after)]
        if masks[0] is not None and masks[1] is not None:
            changes.append(1.0 - confusion_from_masks(masks[0], masks[1]).jaccard)
    return Effect(
        kind=kind,
        name=name,
        probability_shift=float(np.mean(shifts)) if shifts else None,
        mask_change=float(np.mean(changes)) if changes else None,
        worst_mask_change=max(changes) if changes else None,
    )

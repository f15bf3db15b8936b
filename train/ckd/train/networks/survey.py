"""What encoders cost a device: counted here, and measured by `ckd-bench backbones`.

Parameters and multiply-accumulates are counted in the encoder itself, with its own head and without
ImageNet's linear layer. Time, ONNX files and INT8 need rooms above this one, which may not be
imported; what they measured comes as a file.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import torch

from ckd.contract.errors import UsageError
from ckd.contract.parsing import read_json
from ckd.train.networks.encoder import AnyBackbone, build_encoder
from ckd.train.networks.macs import macs_of

#: Encoders to choose from for a device, from the families that can be cut.
DEVICE_BACKBONES: Final = (
    "mobilenet_v2", "resnet18", "resnet34", "resnet50",
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2",
    "tf_efficientnet_lite0", "tf_efficientnet_lite2", "efficientnet_b0",
    "mobilenetv3_large_100", "mobilenetv4_conv_small", "mobilenetv4_conv_medium",
    "regnetx_004", "regnety_004", "resnet18d", "resnetv2_18",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderCost:
    """One encoder, counted.

    Attributes:
        refusal: why it cannot be cut; the counts are then None.
        channels: of x0..x4.
        parameters: of the encoder and its head.
        macs: multiply-accumulates of one image.
    """

    backbone: str
    refusal: str | None = None
    channels: tuple[int, ...] | None = None
    parameters: int | None = None
    macs: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredBackbone:
    """A whole ckdnet-mobile with one encoder, untrained, as `ckd-bench backbones` measured it.

    Attributes:
        image_size: side of the networks' input in pixels.
        refusal: of the first step that failed, or None.
        exports: whether all ONNX files were written, and compute what PyTorch computes.
        quantises: whether all INT8 files were written and their golden cases repeat.
        fp32_ms, int8_ms: median from a frame to masks and probabilities, on ONNX Runtime.
    """

    backbone: str
    image_size: int
    refusal: str | None
    exports: bool
    quantises: bool
    fp32_ms: float | None
    int8_ms: float | None


def library_of(backbone: str) -> str:
    """The library that an encoder of that name is taken from."""
    return "torchvision" if backbone in get_args(AnyBackbone) else "timm"


def encoder_cost(backbone: str, side_px: int) -> EncoderCost:
    """Build an encoder and count.

    Raises:
        UsageError: no library has a network of that name.
    """
    try:
        encoder = build_encoder(backbone, head=True).eval()
    except UsageError as error:
        if "cannot be cut" not in str(error):
            raise
        return EncoderCost(backbone=backbone, refusal=str(error))
    encoder.to("meta")  # operations are counted, not computed
    image_BCHW = torch.zeros(1, 3, side_px, side_px, device="meta")
    return EncoderCost(
        backbone=backbone,
        channels=encoder.channels,
        parameters=sum(part.numel() for part in encoder.parameters()),
        macs=macs_of(lambda: encoder.head(encoder(image_BCHW)[-1])),
    )


def read_measured(path: Path, side_px: int) -> Mapping[str, MeasuredBackbone]:
    """Rows of a file that `ckd-bench backbones --out` wrote, by backbone.

    Raises:
        UsageError: there is no such file, or it holds something else, or another image size.
    """
    try:
        rows = read_json(path)["backbones"]
        measured = [MeasuredBackbone(**row) for row in rows]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: not what `ckd-bench backbones --out FOLDER` writes as backbones.json"
        ) from error
    if others := {row.image_size for row in measured} - {side_px}:
        raise UsageError(
            f"{path}: measured at {others.pop()} px, expected {side_px}; try another --size"
        )
    return {row.backbone: row for row in measured}


def survey_table(
    costs: Sequence[EncoderCost], measured: Mapping[str, MeasuredBackbone]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of a table; columns of what was measured only if something was."""
    head = ("backbone", "library", "parameters", "GMAC", "channels", "cuts")
    later = ("exports", "quantises", "FP32", "INT8") if measured else ()
    return (*head, *later), [
        (*_counted(cost), *(_measured(measured.get(cost.backbone)) if measured else ()))
        for cost in costs
    ]


def cost_tree(cost: EncoderCost) -> dict[str, object]:
    """The counts of one encoder for JSON."""
    return {"library": library_of(cost.backbone), **asdict(cost)}


def survey_tree(
    costs: Iterable[EncoderCost], measured: Mapping[str, MeasuredBackbone]
) -> list[Mapping[str, object]]:
    """The same for JSON."""
    return [
        {
            **cost_tree(cost),
            "measured": asdict(measured[cost.backbone]) if cost.backbone in measured else None,
        }
        for cost in costs
    ]


def _counted(cost: EncoderCost) -> tuple[str, ...]:
    if cost.parameters is None or cost.macs is None or cost.channels is None:
        return cost.backbone, library_of(cost.backbone), "", "", "", "no"
    channels = " ".join(map(str, cost.channels))
    parameters, gmac = f"{cost.parameters / 1e6:.2f} M", f"{cost.macs / 1e9:.2f}"
    return cost.backbone, library_of(cost.backbone), parameters, gmac, channels, "yes"


def _measured(row: MeasuredBackbone | None) -> tuple[str, ...]:
    if row is None:
        return ("",) * 4
    times = ("" if ms is None else f"{ms:.1f} ms" for ms in (row.fp32_ms, row.int8_ms))
    return *("yes" if done else "no" for done in (row.exports, row.quantises)), *times

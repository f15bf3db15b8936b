"""Measured limits of the device: how fast it copies memory and how fast it multiplies.

They give a lower bound of the time of any way to run a network, the floor: its weights must be read
and its products computed. At best both overlap, so the floor is the longer of the two times.
Activations are not counted. A network whose weights stay in a large cache between two frames can be
faster than its floor.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import torch

from ckd.benchmarks.gpu.device import clock_for

#: Bytes of one weight, by precision.
WEIGHT_BYTES: Final[Mapping[str, int]] = {"fp32": 4, "fp16": 2, "int8": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """Measured limits of a device.

    Attributes:
        copy_gb_per_s: bytes read plus bytes written by a copy inside the device's memory.
        tera_macs_per_s: multiply-accumulates of a square matrix product, by precision; FP32 without
            TensorFloat-32. A precision that torch cannot multiply in here is missing.
    """

    copy_gb_per_s: float
    tera_macs_per_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Floor:
    """Lower bound of the time of any way to run a network; milliseconds."""

    weights_ms: float
    products_ms: float

    @property
    def ms(self) -> float:
        """The longer of the two."""
        return max(self.weights_ms, self.products_ms)


def measure_ceilings(
    device: str, *, side: int = 8192, copy_bytes: int = 1 << 30, runs: int = 10
) -> Ceilings:
    """Measure an idle device.

    Args:
        device: for torch.
        side: of the square matrices.
        copy_bytes: size of the copy, well above any cache.
        runs: of each; the median counts.
    """
    return Ceilings(
        copy_gb_per_s=2 * copy_bytes / _copy_ms(device, copy_bytes, runs) / 1e6,
        tera_macs_per_s={
            precision: side**3 / taken_ms / 1e9
            for precision in WEIGHT_BYTES
            if (taken_ms := _product_ms(device, precision, side, runs)) is not None
        },
    )


def floor_of(
    ceilings: Ceilings, precision: str, *, num_weights: int, macs: int, batch: int
) -> Floor | None:
    """The floor of one call; None where the rate of this precision could not be measured.

    Args:
        ceilings: of the device.
        precision: "fp32", "fp16" or "int8".
        num_weights: of all networks; read once a call.
        macs: multiply-accumulates of one image.
        batch: images in a call.
    """
    rate = ceilings.tera_macs_per_s.get(precision)
    if rate is None:
        return None
    return Floor(
        weights_ms=num_weights * WEIGHT_BYTES[precision] / ceilings.copy_gb_per_s / 1e6,
        products_ms=batch * macs / rate / 1e9,
    )


def _copy_ms(device: str, num_bytes: int, runs: int) -> float:
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return _median_ms(device, lambda: target.copy_(source), runs)


def _product_ms(device: str, precision: str, side: int, runs: int) -> float | None:
    """Time of one square product; None where torch has none in this precision."""
    generator = torch.Generator(device).manual_seed(0)
    if precision == "int8":
        low, high = (
            torch.randint(-8, 8, (side, side), dtype=torch.int8, device=device, generator=generator)
            for _ in range(2)
        )
        # Tensor cores want the second matrix column by column.
        columns = high.t().contiguous().t()
        product: Callable[[], object] = lambda: torch._int_mm(low, columns)  # noqa: E731
    else:
        # Random numbers, as products with zeros take less power and may leave the clock higher.
        dtype = torch.float32 if precision == "fp32" else torch.float16
        one, other = (
            torch.randn(side, side, device=device, generator=generator).to(dtype) for _ in range(2)
        )
        product = lambda: one @ other  # noqa: E731
    try:
        return _median_ms(device, product, runs)
    except RuntimeError:  # what torch raises for a kernel that it lacks
        return None


def _median_ms(device: str, work: Callable[[], object], runs: int) -> float:
    clock, taken_ms = clock_for(device), []
    for _ in range(2 + runs):
        clock.start()
        work()
        taken_ms.append(clock.stop())
    return statistics.median(taken_ms[2:])

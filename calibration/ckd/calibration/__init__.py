"""Lower precision with proof: ranges measured on real images, INT8 files, what they cost.

Runs bundles, through `ckd.runtime`, and rewrites their ONNX files; needs no torch.
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.calibration.cost import Cost, answer, cost_of, groups_of
    from ckd.calibration.half_weights import network_of, with_half_weights
    from ckd.calibration.images import by_digest, check_apart, spread
    from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.calibration.cost": "Cost answer cost_of groups_of",
            "ckd.calibration.half_weights": "network_of with_half_weights",
            "ckd.calibration.images": "by_digest check_apart spread",
            "ckd.calibration.int8_bundle": "QuantSetting quantise_bundle",
        },
    )

__all__ = [
    "Cost",
    "QuantSetting",
    "answer",
    "by_digest",
    "check_apart",
    "cost_of",
    "groups_of",
    "network_of",
    "quantise_bundle",
    "spread",
    "with_half_weights",
]

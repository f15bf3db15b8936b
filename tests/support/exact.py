"""INT8 networks on any processor as their files say, for networks of random weights.

Their sums saturate where convolutions are fused without VNNI, and answers are then others.
"""

from pathlib import Path

from ckd.contract.bundle import Bundle
from ckd.runtime.acceptance import CaseResult, run_acceptance
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.chain import Chain


def int8_cases(path: Path) -> list[CaseResult]:
    """Results of a bundle's acceptance cases in INT8."""
    bundle = Bundle(path)
    with Chain.of(bundle, OnnxRuntimeBackend(fused=False), "int8") as chain:
        return run_acceptance(chain, bundle)

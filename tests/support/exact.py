"""INT8 networks of random weights on any processor.

Their sums saturate where convolutions are fused without VNNI, and answers are then others.
"""

from pathlib import Path

from ckd.contract.bundle import Bundle
from ckd.runtime.acceptance import CaseResult, run_acceptance
from ckd.runtime.backends.onnxruntime import OnnxRuntimeBackend
from ckd.runtime.chain import Chain
from ckd.runtime.cpu import lacks_int8_instructions


def int8_cases(path: Path) -> list[CaseResult]:
    """Results of a bundle's acceptance cases in INT8, as devices compute it where that is right."""
    bundle, fused = Bundle(path), not lacks_int8_instructions()
    with Chain.of(bundle, OnnxRuntimeBackend(fused=fused), "int8") as chain:
        return run_acceptance(chain, bundle)

"""Run a cascade on a device: load a bundle, analyse images, without torch.

For example::

    from ckd.runtime import Cascade

    with Cascade.load() as cascade:
        finding = cascade.predict("photo.jpg")
        print(finding.top, finding.lesion_area_px)
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.contract.errors import CkdError
    from ckd.finding.finding import Finding
    from ckd.runtime.acceptance import firm_cases, run_acceptance, verdicts_of
    from ckd.runtime.cache import Store, cache_folder
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.cases import (
        CASES,
        CASES_INT8,
        TOLERANCES,
        Tolerance,
        golden_images,
        pack_cases,
    )
    from ckd.runtime.certificate import Certificate, certificates, prune_certificates
    from ckd.runtime.chain import Chain
    from ckd.runtime.closing import Closing
    from ckd.runtime.cpu import cpu_flags, cpu_name, usable_cores
    from ckd.runtime.engine import (
        Backend,
        BuiltEngine,
        DeviceBuffer,
        Engine,
        EngineBuilder,
        Runner,
        first_line,
    )
    from ckd.runtime.engine_cache import EngineCache, Entry
    from ckd.runtime.proving import certify
    from ckd.runtime.settling import Settler
    from ckd.runtime.signed import Trust, embedded_bundle, open_bundle
    from ckd.runtime.stopwatch import Stopwatch
    from ckd.runtime.verdicts import VERDICTS
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.contract.errors": "CkdError",
            "ckd.finding.finding": "Finding",
            "ckd.runtime.acceptance": "firm_cases run_acceptance verdicts_of",
            "ckd.runtime.cache": "Store cache_folder",
            "ckd.runtime.cascade": "Cascade",
            "ckd.runtime.cases": ("CASES CASES_INT8 TOLERANCES Tolerance golden_images pack_cases"),
            "ckd.runtime.certificate": "Certificate certificates prune_certificates",
            "ckd.runtime.chain": "Chain",
            "ckd.runtime.closing": "Closing",
            "ckd.runtime.cpu": "cpu_flags cpu_name usable_cores",
            "ckd.runtime.engine": (
                "Backend BuiltEngine DeviceBuffer Engine EngineBuilder Runner first_line"
            ),
            "ckd.runtime.engine_cache": "EngineCache Entry",
            "ckd.runtime.proving": "certify",
            "ckd.runtime.settling": "Settler",
            "ckd.runtime.signed": "Trust embedded_bundle open_bundle",
            "ckd.runtime.stopwatch": "Stopwatch",
            "ckd.runtime.verdicts": "VERDICTS",
        },
    )

__all__ = [
    "CASES",
    "CASES_INT8",
    "TOLERANCES",
    "VERDICTS",
    "Backend",
    "BuiltEngine",
    "Cascade",
    "Certificate",
    "Chain",
    "CkdError",
    "Closing",
    "DeviceBuffer",
    "Engine",
    "EngineBuilder",
    "EngineCache",
    "Entry",
    "Finding",
    "Runner",
    "Settler",
    "Stopwatch",
    "Store",
    "Tolerance",
    "Trust",
    "cache_folder",
    "certificates",
    "certify",
    "cpu_flags",
    "cpu_name",
    "embedded_bundle",
    "firm_cases",
    "first_line",
    "golden_images",
    "open_bundle",
    "pack_cases",
    "prune_certificates",
    "run_acceptance",
    "usable_cores",
    "verdicts_of",
]

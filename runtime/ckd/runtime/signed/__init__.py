"""Signed bundles: who made what a device runs.

open_bundle      a bundle that keys and serial number of this device allow
open_source      likewise, to make another bundle of it
embedded_bundle  the bundle that comes with `ckd`
signature_shown  what is known of who made a bundle
Trust            keys and certificates of which one must have signed a bundle
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.signed.opening import (
        embedded_bundle,
        open_bundle,
        open_source,
        signature_shown,
    )
    from ckd.runtime.signed.trust import Trust
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.signed.opening": "embedded_bundle open_bundle open_source signature_shown",
            "ckd.runtime.signed.trust": "Trust",
        },
    )

__all__ = ["Trust", "embedded_bundle", "open_bundle", "open_source", "signature_shown"]

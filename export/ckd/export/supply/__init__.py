"""A release: what devices install of it, what that holds, and by which licences."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.export.supply.release_folder import write_release
    from ckd.export.supply.sbom import check_sbom, write_sbom
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.export.supply.release_folder": "write_release",
            "ckd.export.supply.sbom": "check_sbom write_sbom",
        },
    )

__all__ = ["check_sbom", "write_release", "write_sbom"]

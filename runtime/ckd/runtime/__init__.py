"""Run a cascade on a device: load a bundle, analyse images, without torch.

For example::

    from ckd.runtime import Cascade

    with Cascade.load() as cascade:
        finding = cascade.predict("photo.jpg")
        print(finding.top, finding.lesion_area_px)
"""

from ckd.contract.errors import CkdError
from ckd.finding.finding import Finding
from ckd.runtime.cascade import Cascade

__all__ = ["Cascade", "CkdError", "Finding"]

"""Dermoscopy that was made up, for tests, demonstrations and speed."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.data.synthetic.overlays import hair_opacity, ruler_opacity
    from ckd.data.synthetic.pans import Hand, pan, pan_over_two
    from ckd.data.synthetic.scene import hairs, optics, skin
    from ckd.data.synthetic.write import dermoscopy, write_isic2017
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.data.synthetic.overlays": "hair_opacity ruler_opacity",
            "ckd.data.synthetic.pans": "Hand pan pan_over_two",
            "ckd.data.synthetic.scene": "hairs optics skin",
            "ckd.data.synthetic.write": "dermoscopy write_isic2017",
        },
    )

__all__ = [
    "Hand",
    "dermoscopy",
    "hair_opacity",
    "hairs",
    "optics",
    "pan",
    "pan_over_two",
    "ruler_opacity",
    "skin",
    "write_isic2017",
]

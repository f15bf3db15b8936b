"""The camera unit: one camera in its handle, as a file describes it.

read_unit      the one reader of unit files
choose_unit    the file that belongs to the camera that is opened
UnitSource     a source whose frames are cut, turned and corrected as the file says
ButtonReader   buttons and foot switches, as Linux reports them
fit_colour     the colour matrix, of a photograph of a 24-patch chart
measure_scale  millimetres per pixel, of a photograph of a ruler
draw_chart, draw_ruler  what was found, over the photograph
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.unit.buttons import ButtonReader, Contact, input_devices
    from ckd.runtime.unit.chart import ColourFit, fit_colour
    from ckd.runtime.unit.choosing import choose_unit
    from ckd.runtime.unit.drawn import draw_chart, draw_ruler
    from ckd.runtime.unit.handle import Handle
    from ckd.runtime.unit.reading import read_unit
    from ckd.runtime.unit.ruler import Scale, measure_scale
    from ckd.runtime.unit.source import UnitSource, UnitVideo
    from ckd.runtime.unit.unit import ButtonChoice, Unit
    from ckd.runtime.unit.writing import put_coach, put_matrix, put_scale, written_limit
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.unit.buttons": "ButtonReader Contact input_devices",
            "ckd.runtime.unit.chart": "ColourFit fit_colour",
            "ckd.runtime.unit.choosing": "choose_unit",
            "ckd.runtime.unit.drawn": "draw_chart draw_ruler",
            "ckd.runtime.unit.handle": "Handle",
            "ckd.runtime.unit.reading": "read_unit",
            "ckd.runtime.unit.ruler": "Scale measure_scale",
            "ckd.runtime.unit.source": "UnitSource UnitVideo",
            "ckd.runtime.unit.unit": "ButtonChoice Unit",
            "ckd.runtime.unit.writing": "put_coach put_matrix put_scale written_limit",
        },
    )

__all__ = [
    "ButtonChoice",
    "ButtonReader",
    "ColourFit",
    "Contact",
    "Handle",
    "Scale",
    "Unit",
    "UnitSource",
    "UnitVideo",
    "choose_unit",
    "draw_chart",
    "draw_ruler",
    "fit_colour",
    "input_devices",
    "measure_scale",
    "put_coach",
    "put_matrix",
    "put_scale",
    "read_unit",
    "written_limit",
]

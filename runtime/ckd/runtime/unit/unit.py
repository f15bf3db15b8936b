"""A camera unit: one camera in its handle, as its unit file describes it.

Suffixes: H rows, W columns, C channels in RGB order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ckd.contract.errors import InputError
from ckd.runtime.sources import CameraFormat
from ckd.runtime.unit.colour import ColourMatrix, Matrix
from ckd.runtime.unit.geometry import Geometry

#: What a button does: it captures the frame, or tells that the light was switched.
Purpose = Literal["capture", "polarised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonChoice:
    """A button or foot switch of the unit.

    Attributes:
        device: "camera" for the button that belongs to the camera itself, or a path such as
            `/dev/input/by-id/...`.
        key: number of the key, as `evtest` shows it; any key if None.
        does: what a press does.
    """

    device: str = "camera"
    key: int | None = None
    does: Purpose = "capture"


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What a unit file says.

    Attributes:
        path: of the file.
        name: of the unit, for people.
        source: the camera that it belongs to, as `open_source` takes it; None if it does not say.
        camera: format and locks to request.
        geometry: how its pictures are cut, turned and mirrored.
        matrix: that makes its colours those of sRGB, see `ColourMatrix`; None for none.
        mm_per_px: width of a pixel on the skin, in the frames as they are analysed; None if it is
            not known.
        polarised: whether its light is polarised when it starts; None if it is not known.
        buttons: of the unit.
        debounce_ms: a contact that opens and closes within this time is one press.
        coach: thresholds that it sets in place of the bundle's, as they stand in the file.
    """

    path: Path
    name: str
    source: str | None = None
    camera: CameraFormat = field(default_factory=CameraFormat)
    geometry: Geometry = field(default_factory=Geometry)
    matrix: Matrix | None = None
    mm_per_px: float | None = None
    polarised: bool | None = None
    buttons: tuple[ButtonChoice, ...] = ()
    debounce_ms: int = 50
    coach: Mapping[str, float] = field(default_factory=dict)

    @property
    def changes_pixels(self) -> bool:
        """Whether pictures differ from what the camera gives."""
        return bool(self.geometry) or self.matrix is not None

    @property
    def about(self) -> dict[str, Any]:
        """What a finding says of it as JSON; see `docs/finding.schema.json`."""
        return {
            "name": self.name,
            "mm_per_px": self.mm_per_px,
            "polarised": self.polarised,
            "pressed": False,
        }

    def check_size(self, height: int, width: int, where: str) -> None:
        """Refuse a picture of another size than the file is made for.

        Raises:
            InputError: it has other rows or columns; scale and field would be wrong.
        """
        wanted = (self.camera.height_px, self.camera.width_px)
        if None not in wanted and wanted != (height, width):
            raise InputError(
                f"{where}: is {width} x {height} pixels, and {self.path.name} is made for "
                f"{wanted[1]} x {wanted[0]}; choose a size that the camera has, and measure "
                "field and scale anew"
            )

    def picture(self, image_HWC: NDArray[np.uint8], where: str) -> NDArray[np.uint8]:
        """A picture of the camera as it is analysed, shown and kept: uint8 RGB, both.

        It is the same array if nothing is to be done.

        Args:
            image_HWC: as the camera gives it.
            where: name of the source or file, for messages.

        Raises:
            InputError: it has another size than the file is made for.
        """
        self.check_size(image_HWC.shape[0], image_HWC.shape[1], where)
        image_HWC = self.geometry.applied(image_HWC)
        return image_HWC if self._colour is None else self._colour.applied(image_HWC)

    @cached_property
    def _colour(self) -> ColourMatrix | None:
        return None if self.matrix is None else ColourMatrix(self.matrix)

"""A source whose frames are as the unit file says: everybody after it sees the same picture."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from typing_extensions import override

from ckd.contract.errors import InputError, SourceUnavailable
from ckd.runtime.sources import FaultKind, Frame, FrameSource, SourceState, VideoFile
from ckd.runtime.unit.handle import Handle
from ckd.runtime.unit.unit import Unit


class UnitSource(FrameSource):
    """Cuts, turns and corrects the frames of a source when they are taken, so none in vain.

    Args:
        source: gives the frames as the camera does; it is closed with this one.
        unit: what to do with them.
        handle: the state of its buttons and light, if it is watched.
    """

    def __init__(self, source: FrameSource, unit: Unit, handle: Handle | None = None) -> None:
        self.name = source.name
        self._source, self._unit, self._handle = source, unit, handle

    @property
    @override
    def label(self) -> str:
        return self._source.label

    @property
    @override
    def state(self) -> SourceState:
        return self._source.state

    @property
    @override
    def detail(self) -> str:
        return self._source.detail

    @property
    @override
    def fps(self) -> float | None:
        return self._source.fps

    @property
    @override
    def dropped(self) -> int:
        return self._source.dropped

    @property
    @override
    def faults(self) -> Mapping[FaultKind, int]:
        return self._source.faults

    @override
    def get(self, timeout_s: float | None = None) -> Frame | None:
        """As of every source; also raises `SourceUnavailable` for a frame of another size."""
        frame = self._source.get(timeout_s)
        if frame is None:
            return None
        stamp = {} if self._handle is None else self._handle.stamp()
        return frame_of_unit(frame, self._unit, self.name, stamp)

    @override
    def close(self) -> None:
        self._source.close()


class UnitVideo(VideoFile):
    """A video that a unit's camera recorded, with its frames as the unit file says."""

    def __init__(self, path: Path, unit: Unit) -> None:
        super().__init__(path)
        self._unit = unit

    @override
    def get(self, timeout_s: float | None = None) -> Frame | None:
        frame = super().get(timeout_s)
        return None if frame is None else frame_of_unit(frame, self._unit, str(self.path), {})


def frame_of_unit(frame: Frame, unit: Unit, where: str, stamp: Mapping[str, Any]) -> Frame:
    """A frame as the unit file says; the camera's own JPEG goes where pixels have changed.

    Raises:
        SourceUnavailable: it has another size than the file is made for.
    """
    try:
        image_HWC = unit.picture(frame.image_HWC, where)
    except InputError as error:
        raise SourceUnavailable(str(error)) from None
    jpeg = None if unit.changes_pixels else frame.jpeg
    return replace(frame, image_HWC=image_HWC, jpeg=jpeg, unit={**unit.about, **stamp})

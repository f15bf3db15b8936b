"""`ckd-run unit colour` and `unit scale` measure a camera; other commands take its unit file."""

import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ckd import console
from ckd.contract.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ckd.runtime.cascade import Cascade
    from ckd.runtime.live import ButtonView
    from ckd.runtime.live.view import Saver
    from ckd.runtime.sources import CameraFormat, FrameSource, VideoFile
    from ckd.runtime.unit import ButtonChoice, Contact, Handle, Unit

UnitFile = Annotated[
    Path | None,
    typer.Option(
        "--unit",
        metavar="FILE",
        help="Unit file of the camera (geometry, colours, scale, locks, buttons), or a folder of "
        "such, of which the camera's serial number chooses one.",
    ),
]

_Picture = Annotated[
    Path | None,
    typer.Option(
        "--picture", metavar="FILE", help="Draw what was found over the photograph, as a PNG."
    ),
]

cli = console.group("Measure a camera for its unit file.")


def unit_of(path: Path | None) -> "Unit | None":
    """The unit of a file, for pictures that its camera took.

    Raises:
        UsageError: it is a folder, and there is no camera to choose by.
        InputError: as `read_unit`.
    """
    if path is None:
        return None
    from ckd.runtime.unit import read_unit

    if path.is_dir():
        raise UsageError(f"--unit {path}: is a folder; name the file of the camera")
    return read_unit(path)


def set_coach(cascade: "Cascade", unit: "Unit | None") -> None:
    """Judge captures by the limits and the scale of a unit, if there is one.

    Raises:
        UsageError: it sets limits and the bundle judges no captures, or one of no check.
    """
    if unit is None:
        return
    if cascade.judge is not None:
        cascade.judge = cascade.judge.for_unit(unit.coach, unit.mm_per_px)
    elif unit.coach:
        raise UsageError(
            f"{unit.path}: sets [coach], and {cascade.bundle_id} does not judge captures"
        )


def video_of(video: Path, unit: "Unit | None") -> "VideoFile":
    """A video, with frames as a unit says if there is one.

    Raises:
        CkdError: the video cannot be opened.
    """
    from ckd.runtime.sources import VideoFile

    if unit is None:
        return VideoFile(video)
    from ckd.runtime.unit import UnitVideo

    return UnitVideo(video, unit)


def _note_open_secret(unit: "Unit") -> None:
    """Say so if everybody on this machine can read the password in a unit file."""
    from ckd.runtime.sources import without_password

    source = unit.source or ""
    if without_password(source) != source and unit.path.stat().st_mode & stat.S_IROTH:
        console.say(
            f"note: {unit.path}: holds a password, and others on this machine can read it; "
            f"`chmod o-r {unit.path}`"
        )


@dataclass(slots=True)
class CameraChoice:
    """The camera to open, with its unit if there is one.

    Attributes:
        unit: None without a unit file.
        source: as `open_source` takes it.
        camera: format to request; None for a source that has its own.
        handle: the state of buttons and light; None without a unit file.
    """

    unit: "Unit | None"
    source: str
    camera: "CameraFormat | None"
    handle: "Handle | None" = None

    @classmethod
    def of(
        cls, path: Path | None, source: str | None, asked: "CameraFormat | None"
    ) -> "CameraChoice":
        """What a command line asks for: unit file, source and format, each None if not given.

        Raises:
            UsageError: the format is asked for twice, or what is to be locked cannot be.
            CkdError: as `choose_unit`.
        """
        if path is None:
            return cls(None, "0" if source is None else source, asked)
        from ckd.runtime.sources import looks_like_camera, takes_format
        from ckd.runtime.unit import Handle, choose_unit

        unit, chosen = choose_unit(path, source)
        _note_open_secret(unit)
        if asked is not None:
            raise UsageError("--width, --height and --fps: the unit file says them")
        camera = unit.camera if takes_format(chosen) else None
        is_recording = source is not None and camera is None
        if unit.camera.locks and not is_recording and not looks_like_camera(chosen):
            raise UsageError(f"{unit.path}: locks are for USB cameras, and its source is none")
        return cls(unit, chosen, camera, Handle(unit))

    def open(self) -> "FrameSource":
        """The source, with frames as the unit file says.

        Raises:
            CkdError: as `open_source`.
        """
        from ckd.runtime.sources import becomes, open_source

        if note := becomes(self.source, self.camera):
            console.say(f"note: {note}")
        source = open_source(self.source, live=True, camera=self.camera)
        if self.unit is None:
            return source
        from ckd.runtime.unit import UnitSource

        return UnitSource(source, self.unit, self.handle)

    @contextmanager
    def button_views(
        self, save: "Saver", pressed: Callable[[str, str], None]
    ) -> Iterator[list["ButtonView"]]:
        """A view that saves what buttons ask for, within a ``with`` block; none without buttons.

        Args:
            save: writes a frame.
            pressed: told where something was pressed, and what it does.
        """
        unit, handle = self.unit, self.handle
        if unit is None or handle is None or not unit.buttons:
            yield []
            return
        from ckd.runtime.live import ButtonView
        from ckd.runtime.sources import CameraSeeker, looks_like_camera
        from ckd.runtime.unit import ButtonReader, input_devices

        def told(button: "ButtonChoice", contact: "Contact") -> None:
            if handle.change(button.does, contact.time_s, is_down=contact.is_down):
                pressed("button", button.does)

        camera = CameraSeeker(self.source) if looks_like_camera(self.source) else None
        with ExitStack() as stack:
            view = stack.enter_context(ButtonView(handle, save, console.say))
            for button in unit.buttons:
                find = partial(input_devices, button, camera)
                stack.enter_context(ButtonReader(button, find, told, console.say))
            yield [view]


@cli.command("colour")
def colour_command(
    photo: Annotated[Path, typer.Argument(help="Photograph of a 24-patch colour chart.")],
    unit: Annotated[
        Path | None,
        typer.Option("--unit", metavar="FILE", help="Write the matrix into this unit file."),
    ] = None,
    replaces: Annotated[
        bool,
        typer.Option(
            "--replace", help="The file has a matrix, and the photograph was taken without it."
        ),
    ] = False,
    picture: _Picture = None,
) -> None:
    """Find the matrix that makes the camera's colours those of the chart, with what is left.

    Prints the lines of the unit file, or writes them into it.
    """
    from ckd.picture.decode import read_rgb
    from ckd.runtime.unit import draw_chart, fit_colour, put_matrix, read_unit

    if unit is not None and read_unit(unit).matrix is not None and not replaces:
        raise UsageError(
            f"{unit}: has a matrix, and a photograph that was taken with it gives a wrong one; "
            "remove [colour] and take the photograph anew, or add --replace if it was taken without"
        )
    image_HWC = read_rgb(photo)
    _check_picture(picture, photo)
    fit = fit_colour(image_HWC, str(photo))
    console.say(f"{photo}: {fit.summary}")
    for note in fit.notes:
        console.say(f"note: {note}")
    if picture is not None:
        _write_picture(picture, draw_chart(image_HWC, fit))
    if unit is None:
        console.show(fit.toml, end="", keep="\n")
    else:
        put_matrix(unit, fit.matrix)
        console.say(f"written into {unit}")


@cli.command("scale")
def scale_command(
    photo: Annotated[Path, typer.Argument(help="Photograph of a ruler.")],
    tick_mm: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=50,
            callback=console.finite,
            help="From one tick to the next, on the ruler.",
        ),
    ] = 1.0,
    unit: Annotated[
        Path | None,
        typer.Option("--unit", metavar="FILE", help="Write the scale into this unit file."),
    ] = None,
    picture: _Picture = None,
) -> None:
    """Measure the millimetres per pixel of the ticks of a ruler, with the uncertainty.

    Prints the lines of the unit file, or writes them into it.
    """
    from ckd.picture.decode import read_rgb
    from ckd.runtime.unit import draw_ruler, measure_scale, put_scale

    image_HWC = read_rgb(photo)
    _check_picture(picture, photo)
    scale = measure_scale(image_HWC, tick_mm, str(photo))
    console.say(f"{photo}: {scale.summary}")
    if picture is not None:
        _write_picture(picture, draw_ruler(image_HWC, scale))
    if unit is None:
        console.show(scale.toml, end="", keep="\n")
    else:
        put_scale(unit, scale.mm_per_px, image_HWC.shape[0], image_HWC.shape[1], str(photo))
        console.say(f"written into {unit}")


def _check_picture(path: Path | None, photo: Path) -> None:
    """Raise `UsageError` for a picture that is none to write: never over the photograph itself."""
    if path is not None and (path.suffix.lower() != ".png" or path.resolve() == photo.resolve()):
        raise UsageError(f"--picture {path}: expected another file than {photo.name}, of type .png")


def _write_picture(path: Path, image_HWC: "NDArray[np.uint8]") -> None:
    from ckd.finding.files import write_png

    write_png(path, image_HWC)
    console.say(f"{path} shows what was found")

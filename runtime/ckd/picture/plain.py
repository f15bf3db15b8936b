"""Photographs that Pillow decodes as they are meant: PNG, BMP, WebP, JPEG 2000 and AVIF.

Suffixes: H rows, W columns.
"""

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ckd.contract.errors import InputError
from ckd.picture.code_points import check_file
from ckd.picture.colour import Canvas, Colours
from ckd.picture.jp2 import jp2_profile
from ckd.picture.limits import Picture, check_size, damaged, strip_rows
from ckd.picture.primaries import told_profile
from ckd.picture.upright import orientation_of, upright

# Format -> Pillow's name of it and the module of its decoder. Naming both keeps Pillow from
# trying others: some of them start programs, and importing all of them takes longer than decoding.
_DECODERS = {
    "PNG": ("PNG", "PngImagePlugin"),
    "BMP": ("BMP", "BmpImagePlugin"),
    "TIFF": ("TIFF", "TiffImagePlugin"),
    "WebP": ("WEBP", "WebPImagePlugin"),
    "JPEG 2000": ("JPEG2000", "Jpeg2KImagePlugin"),
    "AVIF": ("AVIF", "AvifImagePlugin"),
}
#: OpenJPEG takes four bytes for each sample, beside the picture: at most 800 MB.
_MAX_JPEG_2000_SAMPLES = 200_000_000
#: Byte of a PNG that holds the bits of a sample (PNG specification, 11.2.2).
_PNG_BITS_AT = 24


def open_with_pillow(path: Path, format_name: str) -> Image.Image:
    """Open a file as that format and no other; nothing is decoded yet.

    Raises:
        InputError: the installed Pillow lacks the format, or the file's header is damaged.
    """
    pillow_name, module = _DECODERS[format_name]
    try:
        importlib.import_module(f"PIL.{module}")
    except ImportError:
        raise _lacks(path, format_name) from None
    if not _is_built_in(format_name):
        raise _lacks(path, format_name)
    try:
        image = Image.open(path, formats=[pillow_name])
    except UnidentifiedImageError:
        if format_name == "TIFF":  # whose header was read by now
            raise InputError(
                f"{path}: a rare kind of TIFF, which Pillow cannot read; save it as PNG"
            ) from None
        raise damaged(path, "its header cannot be read") from None
    if format_name == "PNG" and image.mode == "L" and "transparency" in image.info:
        _widen_grey_key(path, image)
    return image


def read_plain(path: Path, format_name: str) -> Picture:
    """Decode a file of one of these formats: its first picture, where it holds several.

    Raises:
        InputError: the format is not built into Pillow, or the picture cannot be shown right.
            Whatever else Pillow raises for a damaged file comes through as it is.
    """
    with open_with_pillow(path, format_name) as image:
        check_size(str(path), image.height, image.width)
        if format_name == "PNG":
            _check_colour_key(path, image)
        if not image.info.get("icc_profile"):
            check_file(path, format_name)
        num_samples = image.height * image.width * len(image.getbands())
        if format_name == "JPEG 2000" and num_samples > _MAX_JPEG_2000_SAMPLES:
            raise InputError(
                f"{path}: JPEG 2000 of {num_samples // 1_000_000} million samples takes too much "
                "memory; save it without transparency"
            )
        if format_name == "JPEG 2000" and (icc := jp2_profile(path)):
            image.info["icc_profile"] = icc
        several = getattr(image, "n_frames", 1) > 1
        image.load()
        # A PNG may hold its EXIF behind the pixels, and Pillow has turned a TIFF by now.
        orientation, notes = orientation_of(image)
        if several:
            notes = (*notes, "it holds several pictures: the first was read")
        shown = picture_of_pillow(path, image)
    return Picture(upright(shown.image_HWC, orientation), (*notes, *shown.notes))


def picture_of_pillow(path: Path, image: Image.Image) -> Picture:
    """A photograph of an opened Pillow image of any mode but float and 32-bit; not turned.

    16-bit samples keep their high byte.

    Raises:
        InputError: every pixel is transparent, or the mode is not known.
    """
    colours = _colours(path, image)
    canvas = Canvas(image.height, image.width, colours, told_profile(image))
    for top in range(0, image.height, rows := strip_rows(image.width)):
        box = (0, top, image.width, min(top + rows, image.height))
        canvas.paint(top, *_strip(image.crop(box), colours))
    return canvas.picture(path)


def _strip(strip: Image.Image, colours: Colours) -> tuple[Image.Image, NDArray[np.uint8] | None]:
    """A strip in its colours, and how opaque it is."""
    if strip.mode.startswith("I"):  # deep grey
        deep_HW = np.asarray(strip)
        eight_bit = Image.fromarray((np.clip(deep_HW, 0, 65535) // 256).astype(np.uint8))
        key = strip.info.get("transparency")
        return eight_bit, None if key is None else _opaque_but(deep_HW == key)
    if strip.has_transparency_data:
        layers = strip.convert("RGBA")
        alpha_HW = np.asarray(layers.getchannel("A"))
        return layers.convert("RGB").convert(colours), alpha_HW
    return (strip if strip.mode == colours else strip.convert(colours)), None


def _opaque_but(is_key_HW: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(is_key_HW, 0, 255).astype(np.uint8)


def _colours(path: Path, image: Image.Image) -> Colours:
    if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I"):
        return "L"
    if image.mode == "CMYK":
        return "CMYK"
    if image.mode in ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "YCbCr"):
        return "RGB"
    raise InputError(f"{path}: its colours ({image.mode}) are not known; save it as RGB")


def _check_colour_key(path: Path, image: Image.Image) -> None:
    """A colour that counts as transparent is given in 16 bits, which Pillow compares in 8."""
    if image.mode == "RGB" and "transparency" in image.info and _png_bits(path) == 16:
        raise InputError(
            f"{path}: 16-bit colours with one that is transparent cannot be shown right; "
            "save it without transparency"
        )


def _widen_grey_key(path: Path, image: Image.Image) -> None:
    """Pillow widens grey samples of 2 and 4 bits to 8, but not the one that is transparent."""
    image.info["transparency"] *= 255 // (2 ** _png_bits(path) - 1)


def _png_bits(path: Path) -> int:
    with path.open("rb") as file:
        return file.read(_PNG_BITS_AT + 1)[_PNG_BITS_AT]


def _is_built_in(format_name: str) -> bool:
    from PIL import features

    names = {"WebP": "webp", "JPEG 2000": "jpg_2000", "AVIF": "avif"}
    return format_name not in names or features.check(names[format_name]) is True


def _lacks(path: Path, format_name: str) -> InputError:
    return InputError(
        f"{path}: {format_name}, which the installed Pillow cannot read; "
        "install a newer one (pip install -U pillow), or save it as PNG"
    )

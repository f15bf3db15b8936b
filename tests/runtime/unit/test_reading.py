"""Unit files: what they may say, and one line for everything that is wrong in them."""

import os
from pathlib import Path

import pytest

from ckd.contract.errors import InputError, UsageError
from ckd.runtime.sources import CameraFormat, Locks, UsbDevice
from ckd.runtime.unit import ButtonChoice, choose_unit, put_matrix, put_scale, read_unit
from ckd.runtime.unit.geometry import Geometry

WHOLE = """
name = "Handle 0042"
source = "usb:2ce3:9563:0042"
polarised = true
debounce_ms = 30

[camera]
width_px = 1920
height_px = 1080
fps = 30
format = "MJPG"
exposure_ms = 12.5
gain = 20
white_balance_k = 5000
focus = 120

[picture]
field_px = [960, 540, 1000]
rotate_deg = 90
mirror = true
mm_per_px = 0.0125

[colour]
matrix = [
    [1.1, -0.05, 0.0],  # red
    [0.0, 1.2, 0.0],
    [0, 0, 1],
]

[[button]]
key = "KEY_CAMERA"

[[button]]
device = "/dev/input/by-id/foot"
code = 30
does = "polarised"

[coach]
focus = 0.4
glare = 3
"""


def written(tmp_path: Path, text: str, name: str = "handle.toml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_everything_that_a_file_says_is_read(tmp_path: Path) -> None:
    unit = read_unit(written(tmp_path, WHOLE))
    assert (unit.name, unit.source, unit.polarised) == ("Handle 0042", "usb:2ce3:9563:0042", True)
    locks = Locks(exposure_ms=12.5, gain=20, white_balance_k=5000, focus=120)
    assert unit.camera == CameraFormat(
        width_px=1920, height_px=1080, fps=30.0, pixel_format="MJPG", locks=locks
    )
    assert unit.geometry == Geometry(field_px=(960, 540, 1000), rotate_deg=90, mirror=True)
    assert unit.matrix == ((1.1, -0.05, 0.0), (0.0, 1.2, 0.0), (0.0, 0.0, 1.0))
    assert unit.mm_per_px == 0.0125
    assert unit.buttons == (
        ButtonChoice(key=212),
        ButtonChoice(device="/dev/input/by-id/foot", key=30, does="polarised"),
    )
    assert (unit.debounce_ms, unit.coach) == (30, {"focus": 0.4, "glare": 3.0})


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    unit = read_unit(written(tmp_path, ""))
    assert (unit.name, unit.source, unit.changes_pixels) == ("handle", None, False)
    assert unit.about == {"name": "handle", "mm_per_px": None, "polarised": None, "pressed": False}


WRONG = {
    "[camera]\nwidht_px = 3": "unknown key 'camera.widht_px'; did you mean width_px?",
    "colour = 3": "colour: expected a table, as [colour], got 3",
    "zoom = 3": "unknown key 'zoom'; known: name, source, polarised",
    "name = 3": "name: expected a text in quotes, got 3",
    "polarised = 1": "polarised: expected true or false, got 1",
    "[camera]\nwidth_px = 64": (
        "camera.height_px: expected a whole number, because width_px is there, got nothing"
    ),
    "[camera]\nwidth_px = 8\nheight_px = 64": "expected a whole number from 16 to 16384, got 8",
    "[camera]\nwidth_px = true\nheight_px = 64": "from 16 to 16384, got true",
    "[camera]\nfps = nan": "not TOML ('nan' is no finite number)",
    "[camera]\nfps = 1e99": "camera.fps: expected a number from 1 to 1000, got 1e+99",
    '[camera]\nformat = "jpeg"': 'expected four letters of Video for Linux, as "MJPG"',
    "[camera]\nexposure_ms = 0": "camera.exposure_ms: expected a number from 0.1 to 10000, got 0",
    "[picture]\nrotate_deg = 45": "picture.rotate_deg: expected 0, 90, 180 or 270, got 45",
    "[picture]\nmirror = 1": "picture.mirror: expected true or false, got 1",
    "[picture]\nmm_per_px = 0.01": "expected width_px and height_px of [camera] too",
    "[picture]\nmm_per_px = 12.5": "picture.mm_per_px: expected a number from 1e-05 to 1, got 12.5",
    "[picture]\nfield_px = [1, 2]": "picture.field_px: expected 3 numbers from 0 to 16384, got [1",
    "[camera]\nwidth_px = 64\nheight_px = 64\n[picture]\nfield_px = [200, 32, 40]": (
        "picture.field_px: expected [x, y, diameter] of a circle within the picture"
    ),
    "[colour]\nmatrix = [[1, 0], [0, 1]]": "colour.matrix: expected three rows of three numbers",
    "[colour]\nmatrix = [[1,0,0],[1,0,0],[0,0,1]]": "three rows that leave colours apart",
    '[[button]]\nkey = "KEY_X"': "button.key: expected 'KEY_ESC', 'KEY_1'",
    '[[button]]\nkey = "KEY_1"\ncode = 3': "expected either a key by name or a code by number",
    '[[button]]\ndevice = "/dev/sda"': 'expected "camera" or a path below /dev/input',
    '[[button]]\ndoes = "explode"': "button.does: expected 'capture' or 'polarised'",
    "[button]\nkey = 3": "button: expected a list of tables, as [[button]]",
    '[coach]\nfocus = "high"': "coach.focus: expected a number",
    "[coach]\nfocus = inf": "not TOML ('inf' is no finite number)",
    "name = ": "not TOML",
    "x = " + "9" * 5000: "not TOML",
    "\udc80": "not TOML",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_in_one_line_with_its_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "handle.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        read_unit(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert WRONG[text] in message
    assert "\n" not in message


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read \(No such file"):
        read_unit(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_unit(tmp_path)


ONE, OTHER = (UsbDevice("2ce3", "9563", serial, "1-2", "00") for serial in ("0042", "0043"))


def test_a_folder_gives_the_file_of_the_camera_by_its_serial_number(tmp_path: Path) -> None:
    for serial in ("0042", "0043"):
        written(tmp_path, f'source = "usb:2ce3:9563:{serial}"', f"{serial}.toml")
    written(tmp_path, "", "other.toml")
    unit, source = choose_unit(tmp_path, "/dev/video3", lambda typed: OTHER)
    assert (unit.path.name, source) == ("0043.toml", "/dev/video3")
    unit, source = choose_unit(tmp_path, None, cameras=lambda: [ONE])
    assert (unit.path.name, source) == ("0042.toml", "usb:2ce3:9563:0042")
    with pytest.raises(InputError, match=r"got 0042\.toml and 0043\.toml of 3 files"):
        choose_unit(tmp_path, None, cameras=lambda: [ONE, OTHER])
    with pytest.raises(InputError, match=r"usb:2ce3:9563\), got none of 3 files"):
        choose_unit(tmp_path, "0", lambda typed: UsbDevice("2ce3", "9563", "", "1-2", "00"))
    with pytest.raises(InputError, match="no serial number to choose by"):
        choose_unit(tmp_path, "clip.mp4")


def test_a_file_is_not_used_for_another_camera(tmp_path: Path) -> None:
    path = written(tmp_path, 'source = "usb:2ce3:9563:0042"')
    with pytest.raises(InputError, match=r"is the file of usb:2ce3:9563:0042, and 0 is .*:0043"):
        choose_unit(path, "0", lambda typed: OTHER)
    assert choose_unit(path, "0", lambda typed: ONE)[1] == "0"
    assert choose_unit(path, "clip.mp4")[1] == "clip.mp4"  # a recording of it
    for elsewhere in ("http://127.0.0.1/video", "rtsp://host/1", "csi://0", "9"):
        with pytest.raises(InputError, match=f"{elsewhere} is another source; name the file"):
            choose_unit(path, elsewhere, lambda typed: None)
    stream = written(tmp_path, 'source = "http://host/video"', "stream.toml")
    assert choose_unit(stream, "http://host/video")[1] == "http://host/video"
    with pytest.raises(InputError, match="is the file of http://host/video") as told:
        choose_unit(stream, "http://anna:secret@other/video")
    assert "secret" not in str(told.value)
    by_id = written(tmp_path, 'source = "/dev/v4l/by-id/handle"', "by_id.toml")
    known = {"/dev/v4l/by-id/handle": ONE, "0": ONE, "2": OTHER}
    assert choose_unit(by_id, "0", lambda typed: known[typed])[1] == "0"
    with pytest.raises(InputError, match="is the file of /dev/v4l/by-id/handle, and 2 is"):
        choose_unit(by_id, "2", lambda typed: known[typed])
    with pytest.raises(UsageError, match="has no source; add one"):
        choose_unit(written(tmp_path, "", "none.toml"), None)


def test_what_was_measured_is_put_in_and_the_rest_stays(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    matrix = ((1.0, 0.1, 0.0), (0.0, 0.9, 0.0), (0.0, 0.0, 1.25))
    put_matrix(path, matrix)
    put_scale(path, 0.0131, 1080, 1920, "photo")
    text = path.read_text()
    before, after = WHOLE.splitlines(), text.splitlines()
    assert [line for line in after if line not in before] == [
        "mm_per_px = 0.0131000",
        "    [1.00000, 0.10000, 0.00000],",
        "    [0.00000, 0.90000, 0.00000],",
        "    [0.00000, 0.00000, 1.25000],",
    ]
    unit = read_unit(path)
    assert (unit.matrix, unit.mm_per_px) == (matrix, 0.0131)
    short = written(tmp_path, 'name = "short"\n[coach]\nfocus = 1\n', "short.toml")
    put_matrix(short, matrix)
    assert read_unit(short).matrix == matrix
    assert short.read_text().startswith('name = "short"\n[coach]\nfocus = 1\n\n[colour]\n')


def test_a_scale_is_not_put_in_for_pictures_of_another_size(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    put_scale(path, 0.0131, 1000, 1000, "photo")  # once cut
    with pytest.raises(InputError, match="photo: is 640 x 480 pixels, and the unit's"):
        put_scale(path, 0.0131, 480, 640, "photo")
    with pytest.raises(InputError, match=r"holds for one size; add to \[camera\] width_px"):
        put_scale(written(tmp_path, "", "none.toml"), 0.0131, 480, 640, "photo")


def test_a_file_that_cannot_be_changed_safely_is_left(tmp_path: Path) -> None:
    path = written(tmp_path, before := "colour.matrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\n")
    with pytest.raises(InputError, match=r"cannot be changed safely; put into \[colour\]: matrix"):
        put_matrix(path, ((2.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    assert path.read_text() == before


def test_the_file_in_the_manual_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "unit.md").read_text()
    unit = read_unit(written(tmp_path, page.partition("```toml\n")[2].partition("```")[0]))
    assert (unit.name, unit.mm_per_px, len(unit.buttons)) == ("Handle 0042", 0.0125, 2)


def test_what_is_no_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """A pipe hangs until somebody writes into it, and some devices have no end."""
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero")):
        with pytest.raises(InputError, match=f"{path}: cannot be read \\(is no file\\)"):
            read_unit(path)

"""A camera's words and its password: nothing of either reaches a terminal as it is."""

from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from mjpeg_camera import ScriptedCamera, head, jpeg_of
from tests.end_to_end.ckd_run import COMMAND, Run, ckd_run

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")

ESCAPES = "\x1b]0;owned\x07\x1b[31m\x9b2J\x7f"
NO_PAGE = ("--view", "none", "--max-frames", "2")


def camera_run(tmp_path: Path, bundle: Path, *arguments: str | Path, **variables: str) -> Run:
    run = ckd_run(tmp_path, "camera", *arguments, "--bundle", bundle, *NO_PAGE, **variables)
    said = run.out + run.err
    assert not {"\x1b", "\x07", "\x9b", "\x7f", "\r"} & {*said}, ascii(said)
    assert "s3cret" not in said
    return run


def odd_status(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(f"HTTP/1.1 500 no {ESCAPES}\r\n\r\n".encode("latin-1"))
    handler.close_connection = True


def odd_line(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(f"{ESCAPES} HTTP/1.1 200\r\n\r\n".encode("latin-1"))
    handler.close_connection = True


def odd_type(handler: BaseHTTPRequestHandler) -> None:
    head(handler, f"text/{ESCAPES}")


def odd_location(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", f"gopher://{ESCAPES}/")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def odd_challenge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(401)
    handler.send_header("WWW-Authenticate", f'Digest realm="a", nonce="n", algorithm={ESCAPES}')
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize("answer", [odd_status, odd_line, odd_type, odd_location, odd_challenge])
def test_what_a_camera_says_commands_no_terminal(
    answer: object, tiny_bundle: Path, tmp_path: Path
) -> None:
    with ScriptedCamera(answer) as camera:  # type: ignore[arg-type]
        url = camera.url.replace("//", "//anna:s3cret@")
        run = camera_run(tmp_path, tiny_bundle, CKD_SOURCE=url)
    assert (run.code, len(run.errors)) == (6, 1), run.err


def guarded(handler: BaseHTTPRequestHandler) -> None:
    if "Authorization" in handler.headers:
        jpeg = jpeg_of(3)
        head(handler, "image/jpeg", len(jpeg))
        handler.wfile.write(jpeg)
    else:
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()


def test_a_password_comes_from_the_environment_or_a_file_and_else_it_is_said(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    unit = tmp_path / "handle.toml"
    with ScriptedCamera(guarded) as camera:
        url = camera.url.replace("//", "//anna:s3cret@")
        unit.write_text(f'source = "{url}"\n')
        for arguments, variables, note in (
            ((), {"CKD_SOURCE": url}, ""),
            ((url,), {}, "note: others on this machine can read a password on the command line"),
            (("--unit", unit), {}, "note: handle.toml: holds a password"),
        ):
            run = camera_run(tmp_path, tiny_bundle, *arguments, **variables)
            assert run.code == 0, run.err
            assert note.replace("handle.toml", str(unit)) in run.err
            assert ("note: " in run.err) == bool(note)
        unit.chmod(0o640)
        assert "note: " not in camera_run(tmp_path, tiny_bundle, "--unit", unit).err


def test_no_error_tells_the_secret_of_an_address(tiny_bundle: Path, tmp_path: Path) -> None:
    unit = tmp_path / "handle.toml"
    unit.write_text('source = "http://anna:s3cret\\u0007@camera/"\n')
    assert camera_run(tmp_path, tiny_bundle, "--unit", unit).code == 1
    with ScriptedCamera(guarded) as camera:
        run = camera_run(tmp_path, tiny_bundle, CKD_SOURCE=f"{camera.url}?pwd=s3cret more")
    assert run.code == 6
    assert "must be written as %20" in run.err


def test_the_token_of_the_page_is_taken_from_the_environment_and_not_printed(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    token = "s3cret-and-long-enough"
    with ScriptedCamera(guarded) as camera:
        url = camera.url.replace("//", "//anna:x@")
        more = ("camera", "--bundle", tiny_bundle, "--port", "0", "--max-frames", "1")
        run = ckd_run(tmp_path, *more, CKD_SOURCE=url, CKD_VIEW_TOKEN=token)
        assert run.code == 0, run.err
        assert "/?token=***" in run.err
        assert token not in run.err
        short = ckd_run(tmp_path, *more, CKD_SOURCE=url, CKD_VIEW_TOKEN="s3cret\x1b")
    assert (short.code, short.errors) == (
        2, ["error: CKD_VIEW_TOKEN: expected 16 to 200 letters, digits, - or _"]
    )  # fmt: skip
    assert "s3cret" not in short.err

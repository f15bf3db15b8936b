"""Options that hold more than a number."""

import inspect

import pytest

from ckd.console.options import bytes_of
from ckd.contract.errors import UsageError
from ckd.runtime.camera_cli import camera_command
from ckd.runtime.cli import video_command
from ckd.runtime.sinks import MIN_FREE_BYTES


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("500MB", 5e8), ("2 GB", 2e9), ("0MB", 0), ("1.5gb", 1.5e9), ("1TB", 1e12)],
)
def test_a_size_is_read_with_its_unit(text: str, num_bytes: float) -> None:
    assert bytes_of("--min-free", text) == num_bytes


@pytest.mark.parametrize("text", ["500", "MB", "-1MB", "1e3MB", "5MiB", ""])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(
        UsageError, match=f"--min-free {text}: expected a size in MB, GB or TB, as in 500MB"
    ):
        bytes_of("--min-free", text)


def test_commands_and_library_leave_the_same_free() -> None:
    for command in (camera_command, video_command):
        default = inspect.signature(command).parameters["min_free"].default
        assert bytes_of("--min-free", default) == MIN_FREE_BYTES

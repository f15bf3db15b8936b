"""Options that hold more than a number."""

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from ckd.benchmarks.cli import cli as ckd_bench
from ckd.calibration.cli import cli as ckd_calibrate
from ckd.console.options import bytes_of
from ckd.contract.errors import UsageError
from ckd.export.cli import cli as ckd_export
from ckd.runtime.camera_cli import camera_command
from ckd.runtime.cli import cli as ckd_run
from ckd.runtime.cli import video_command
from ckd.runtime.sinks import MIN_FREE_BYTES
from ckd.train.cli import cli as ckd_train

COMMAND_LINES = {
    "run": ckd_run, "train": ckd_train, "export": ckd_export, "calibrate": ckd_calibrate,
    "bench": ckd_bench,
}  # fmt: skip


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


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All commands within one, by their names."""
    inner = getattr(command, "commands", {})
    for word, one in inner.items():
        yield from commands(one, f"{name} {word}")
    if not inner:
        yield name, command


NUMBERS = [
    pytest.param(command, option, id=f"{words} {option.name}")
    for name, cli in COMMAND_LINES.items()
    for words, command in commands(get_command(cli), name)
    for option in command.params
    if "float" in option.type.name
]


@pytest.mark.parametrize(("command", "option"), NUMBERS)
def test_every_option_for_a_number_wants_a_finite_one(command: Any, option: Any) -> None:
    """Its bounds do not: "nan" is neither below nor above them."""
    context = command.make_context("it", [], resilient_parsing=True)
    for value in ("nan", "inf", "1e400"):
        with pytest.raises(Exception, match=r"finite number|not in the range"):
            option.process_value(context, value)
    assert option.process_value(context, str(option.default or 1.0)) is not None


def test_there_are_such_options() -> None:
    assert len(NUMBERS) >= 10


def test_commands_and_library_leave_the_same_free() -> None:
    for command in (camera_command, video_command):
        default = inspect.signature(command).parameters["min_free"].default
        assert bytes_of("--min-free", default) == MIN_FREE_BYTES

"""What all five command lines share: how errors end a command, and what --help looks like."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import typer

from ckd.console.progress import take_down_bars
from ckd.contract.errors import CkdError, UsageError
from ckd.contract.version import ckd_version


def app(help_text: str) -> typer.Typer:
    """A command line with the habits all of ours share."""
    made = typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @made.callback(invoke_without_command=True)
    def common(
        version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    ) -> None:
        if version:
            print(ckd_version())
            raise typer.Exit

    made.info.help = help_text
    return made


def make_folder(folder: Path) -> None:
    """Make a folder for results, before any work; `UsageError` if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write results there ({error.strerror})") from error


def run(command: Callable[[], object]) -> None:
    """Run a command line: what goes wrong becomes one line on stderr and an exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # Pillow's, for one, of a photograph with odd metadata
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold any bytes
    try:
        try:
            command()
        finally:
            take_down_bars()  # before an error is printed over them
    except CkdError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        if (error.name or "ckd").startswith("ckd"):
            raise  # a defect of ours
        print(
            f"error: {error.name} is not installed; pip install '.[export]' in ckd's folder",
            file=sys.stderr,
        )
        raise SystemExit(3) from None
    except OSError as error:  # a full disk, a folder without permission
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except SystemExit as ended:
        if ended.code == 130:  # the key was caught by the library that reads command lines
            print("interrupted", file=sys.stderr)
        raise

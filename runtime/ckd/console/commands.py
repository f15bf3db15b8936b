"""What all five command lines share: how a command ends, and what --help looks like."""

import functools
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import typer
from typing_extensions import override

from ckd.console.crash import kind_of, tell_crash, telling_of_crashes
from ckd.console.progress import give_up_streams, hide_names, on_stderr, show, take_down_bars
from ckd.console.signals import Signals
from ckd.contract.disk import lasting_folder, refusal
from ckd.contract.errors import CkdError, Interrupted, UsageError
from ckd.contract.escapes import printable
from ckd.contract.version import ckd_version

_P = ParamSpec("_P")
_Function = TypeVar("_Function", bound=Callable[..., None])
#: How a path begins that was meant as an address: two slashes have become one.
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


class _Commands(typer.core.TyperGroup):
    """Commands whose complaints about what was typed, or set in the environment, are printable."""

    @override
    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _printable_complaints():
            return super().make_context(*args, **kwargs)

    @override
    def invoke(self, ctx: Any) -> Any:
        with _printable_complaints():
            return super().invoke(ctx)


@contextmanager
def _printable_complaints() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Typer's errors of this kind have no public name that all its versions share.
        if hasattr(error, "format_message") and hasattr(error, "message"):
            error.message = printable(str(error.message))
        raise


class _CommandLine(typer.Typer):
    """Commands whose paths are no addresses: those may hold a password, and errors show paths."""

    @override
    def command(self, *args: Any, **kwargs: Any) -> Callable[[_Function], _Function]:
        register = super().command(*args, **kwargs)

        def registered(command: _Function) -> _Function:
            register(_without_addresses(command))
            return command

        return registered


def _without_addresses(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        for value in options.values():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path) and _ADDRESS.match(str(path)) and not path.exists():
                    raise UsageError(
                        "an address was given, which may hold a password and is not shown; "
                        "expected a file or folder, but for `ckd-run camera ADDRESS`"
                    )
        command(**options)

    return wrapped


def app(help_text: str) -> typer.Typer:
    """A command line with the options and settings that all of ours share."""
    command_line = _CommandLine(
        cls=_Commands,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    @command_line.callback(invoke_without_command=True)
    def common(
        version: bool = typer.Option(False, "--version", help="Print the version and stop."),
    ) -> None:
        if version:
            show(ckd_version())
            raise typer.Exit

    command_line.info.help = help_text
    return command_line


def group(help_text: str) -> typer.Typer:
    """Commands below one of a command line, for its `add_typer`."""
    return _CommandLine(help=help_text, no_args_is_help=True)


def make_folder(folder: Path) -> None:
    """Make a folder for results, before any work; `UsageError` if it cannot be written to."""
    try:
        lasting_folder(folder)
        if not os.access(folder, os.W_OK):
            raise PermissionError(None, "Permission denied")
    except OSError as error:
        raise UsageError(f"{folder}: cannot write results there ({error.strerror})") from error


def ends_when_stopped(command: Callable[_P, None]) -> Callable[_P, None]:
    """A command that has no other end than to be told so: Ctrl-C, SIGTERM and SIGHUP end it well.

    Its exit code is 0 then, also if it had not begun yet.
    """

    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt:
            on_stderr("interrupted")
        except (CkdError, OSError):
            raise
        except Exception as error:
            if not Signals.has_heard:
                raise
            on_stderr(_interrupted_in(error))

    return wrapped


def _interrupted_in(error: Exception) -> str:
    """What a library made of the signal: one that is being imported calls it its own failure."""
    return f"interrupted ({kind_of(error)})"


def run(command: Callable[[], object]) -> None:
    """Run a command line; an error becomes one line on stderr and an exit code.

    A defect of the program becomes a traceback that says nothing of what it worked on
    (`ckd.console.crash`), and exit code 1.

    Ctrl-C, SIGTERM and SIGHUP raise `KeyboardInterrupt` in the command, see `Signals`. If the
    command does not end by itself then, the exit code is 130, 143 or 129.
    """
    signals = Signals()
    signals.listen()
    hide_names(None)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # Pillow's, for one, of a photograph with odd metadata
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold any bytes
    try:
        with telling_of_crashes():
            _carry_out(command, signals)
    finally:
        give_up_streams()


def _carry_out(command: Callable[[], object], signals: Signals) -> None:
    """Run it; what it raises becomes a line on stderr and `SystemExit`."""
    try:
        try:
            _printed(command)
        finally:
            take_down_bars()  # before an error is printed over them
    except Interrupted as error:
        on_stderr(f"error: {error}")
        raise SystemExit(signals.exit_code) from None
    except CkdError as error:
        on_stderr(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        if (error.name or "ckd").startswith("ckd"):  # one of ours that is missing is a defect
            tell_crash(error)
            raise SystemExit(1) from None
        # Without PyTorch, onnx is what calibration lacks: its extra is the smaller one.
        extra = "calibrate" if error.name in ("onnx", "onnx_ir", "onnxruntime") else "export"
        on_stderr(f"error: {error.name} is not installed; pip install '.[{extra}]' in ckd's folder")
        raise SystemExit(3) from None
    except OSError as error:  # a full disk, a folder without permission
        on_stderr(f"error: {refusal(error)}")
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        on_stderr("interrupted")
        raise SystemExit(signals.exit_code) from None
    except SystemExit as ended:
        if ended.code != Interrupted.exit_code:
            raise
        on_stderr("interrupted")  # typer has turned it into this exit code
        raise SystemExit(signals.exit_code) from None
    except Exception as error:
        if signals.first is None:
            tell_crash(error)
            raise SystemExit(1) from None
        on_stderr(_interrupted_in(error))
        raise SystemExit(signals.exit_code) from None


def _printed(command: Callable[[], object]) -> None:
    """Run it until what it printed has left this process; `OSError` if a full disk refuses that."""
    try:
        command()
    except SystemExit as ended:  # so typer's commands end, whether well or not
        if not ended.code:
            sys.stdout.flush()
        raise
    sys.stdout.flush()

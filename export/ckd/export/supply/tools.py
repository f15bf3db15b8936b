"""Runs the programs that make a release; what one of them says of a failure becomes one line."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ckd.contract.errors import EnvironmentUnusable


def output_of(
    *command: str | Path, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> str:
    """What a program prints; it sees no variables that steer Python.

    Args:
        command: the program and its arguments; "python" is this Python.
        folder: in which it runs; None for this process's.
        variables: of the environment, besides this process's.

    Raises:
        EnvironmentUnusable: it cannot be started, or failed.
    """
    program = [sys.executable if command[0] == "python" else command[0], *command[1:]]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    try:
        done = subprocess.run(
            program, cwd=folder, env={**kept, **(variables or {})}, capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    except OSError as error:
        raise EnvironmentUnusable(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        what = " ".join(map(str, command[:4]))
        raise EnvironmentUnusable(f"`{what} ...` failed: {(said or ['without a word'])[-1][:300]}")
    return done.stdout

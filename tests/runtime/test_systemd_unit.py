"""The systemd unit: understood by systemd where there is one, and true to the command it starts."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from services import needs_program, service_missing
from typer.main import get_command

from ckd.contract.errors import (
    BundleError,
    EnvironmentUnusable,
    GateFailed,
    SourceUnavailable,
    UsageError,
)
from ckd.runtime.cli import cli

UNIT = Path(__file__).parents[2] / "runtime" / "systemd" / "ckd-camera.service"


def settings() -> dict[str, list[str]]:
    """Every setting of the unit with all values that it is given."""
    values: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            values.setdefault(name, []).append(value)
    return values


def systemd_analyze(tmp_path: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Of a copy whose program and user exist here."""
    program = needs_program("systemd-analyze")
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^User=.*", "User=daemon", text, flags=re.MULTILINE)
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    return subprocess.run([program, *arguments, str(copy)], capture_output=True, text=True)


@pytest.mark.system
def test_systemd_has_nothing_to_say_against_it(tmp_path: Path) -> None:
    done = systemd_analyze(tmp_path, "verify", "--man=no")
    about_this = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, about_this) == (0, [])


@pytest.mark.system
def test_it_may_do_little(tmp_path: Path) -> None:
    done = systemd_analyze(tmp_path, "security", "--offline=true", "--no-pager", "--threshold=30")
    if "unrecognized option" in done.stderr:
        service_missing("this systemd cannot judge a file")
    assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_its_command_is_one_that_there_is() -> None:
    (command,) = settings()["ExecStart"]
    program, name, *arguments = shlex.split(command)
    assert Path(program).name == "ckd-run"
    camera = get_command(cli).commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in camera.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("--")} <= options


def test_every_variable_of_its_command_has_a_default() -> None:
    unit = settings()
    defined = {word.partition("=")[0] for line in unit["Environment"] for word in line.split()}
    used = set(re.findall(r"\$\{(\w+)\}", unit["ExecStart"][0]))
    assert used == {"CKD_HOST", "CKD_PORT"}
    assert used | {"CKD_SOURCE"} <= defined  # which no command line shows: it may hold a password


def test_it_does_not_start_again_what_cannot_succeed() -> None:
    unit = settings()
    assert unit["Restart"] == ["on-failure"]
    final = {int(code) for code in unit["RestartPreventExitStatus"][0].split()}
    errors = (UsageError, EnvironmentUnusable, GateFailed, BundleError)
    assert final == {error.exit_code for error in errors}
    assert SourceUnavailable.exit_code not in final


def test_cameras_and_gpu_stay_within_reach() -> None:
    """Each of these hides devices, sockets or memory that a camera or CUDA needs."""
    for name in ("PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock", "PrivateTmp",
                 "MemoryDenyWriteExecute", "ProcSubset", "PrivateNetwork"):  # fmt: skip
        assert name not in settings()
    assert settings()["SupplementaryGroups"] == ["video render"]

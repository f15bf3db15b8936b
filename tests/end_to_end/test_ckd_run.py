"""`ckd-run` as a user meets it: the installed command, bundles, exit codes, no traceback."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.end_to_end.ckd_run import (
    COMMAND,
    GOOD_IMAGES,
    NODES,
    ckd_run,
    edit_spec,
    flip_byte,
    make,
    refused,
)

from ckd.contract.version import ckd_version
from ckd.runtime.cli import cli
from ckd.runtime.signed import embedded_bundle

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="ckd is not installed here")


# Bundles


#: What is done to the bundle -> exit code and words of the one line.
BAD_BUNDLES: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "changed byte": (flip_byte, 5, "cls.fp32.onnx was changed since the bundle was made"),
    "missing file": (
        lambda folder: (folder / "cls.fp32.onnx").unlink(),
        5,
        "cls.fp32.onnx is missing; the bundle is incomplete",
    ),
    "missing node": (
        lambda folder: edit_spec(folder, lambda tree: tree["nodes"].pop(2)),
        5,
        "seg_decoder needs 'g0', which no node before it produces",
    ),
    "wrong shape": (
        lambda folder: edit_spec(
            folder, lambda tree: tree["tensors"]["gate1"].update(shape=[1, 4, 9, 8])
        ),
        5,
        "rootseg: the file takes image uint8[1, 32, 32, 3]",
    ),
    "unknown schema": (
        lambda folder: edit_spec(folder, lambda tree: tree.update(schema=99)),
        5,
        "cascade.json: schema 99, this version of ckd reads 2",
    ),
    "no bundle": (lambda folder: folder.rename(folder.with_name("moved")), 5, "no such bundle"),
    "not a bundle": (
        lambda folder: (folder / "hashes.json").unlink(), 5, "hashes.json is missing"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_BUNDLES)
def test_a_bad_bundle_is_one_line_and_its_code(
    bundle_copy: Path, tmp_path: Path, case: str
) -> None:
    damage, code, message = BAD_BUNDLES[case]
    damage(bundle_copy)
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    refused(ckd_run(tmp_path, "image", "colour.png", "--bundle", bundle_copy), code, message)
    assert not (tmp_path / "runs").exists()


def test_a_request_that_cannot_be_met_is_a_usage_error(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    start = ("image", "colour.png", "--bundle", tiny_bundle)
    for more, message in (
        (("--precision", "fp16"), "no fp16 networks in this bundle; it has fp32"),
        (("--backend", "tpu"), "unknown backend 'tpu'"),
        (("--out", "colour.png"), "colour.png: cannot write results there"),
    ):
        refused(ckd_run(tmp_path, *start, *more), 2, message)
    run = ckd_run(tmp_path, *start, "--no-such-option")
    assert (run.code, run.out) == (2, "")
    assert "--no-such-option" in run.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_a_usage_error(tiny_bundle: Path, tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    (tmp_path / "closed").mkdir(mode=0o500)
    for out in ("closed", "closed/below"):
        run = ckd_run(tmp_path, "image", "colour.png", "--bundle", tiny_bundle, "--out", out)
        refused(run, 2, f"{out}: cannot write results there")


def test_settings_come_from_the_environment_and_flags_win(
    bundle_copy: Path, tmp_path: Path
) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--json", CKD_BUNDLE=str(bundle_copy))
    assert run.records[0]["bundle"].startswith("tiny@")
    run = ckd_run(
        tmp_path, "image", "colour.png", "--bundle", "nowhere", CKD_BUNDLE=str(bundle_copy)
    )
    refused(run, 5, "nowhere: no such bundle")


# About the bundle and the machine


def test_info_shows_what_a_bundle_holds(tiny_bundle: Path, tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "info", tiny_bundle)
    assert (run.code, run.err) == (0, "")
    for words in ("tiny", "uint8 RGB 32x32", "MEL (melanoma)", "fp32", "none: weights are random"):
        assert words in run.out
    assert "this bundle decides nothing" in run.out
    for node in NODES:
        assert any(line.startswith(node) for line in run.out.splitlines())
    run = ckd_run(tmp_path, "info", tiny_bundle, "--json")
    assert run.out.rstrip("\n") == (tiny_bundle / "cascade.json").read_text().rstrip("\n")


def test_info_and_doctor_are_of_the_bundle_that_would_run(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    for command in ("info", "doctor"):
        run = ckd_run(tmp_path, command, CKD_BUNDLE=str(tiny_bundle))
        assert "tiny" in run.out


def test_info_on_a_bad_bundle_is_one_line_and_code_5(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "cascade.json").write_text("{}")
    refused(ckd_run(tmp_path, "info", bundle_copy), 5, "cascade.json was changed")


def test_the_doctor_finds_this_machine_fit(tiny_bundle: Path, tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "doctor", tiny_bundle)
    assert (run.code, run.err) == (0, "")
    assert "problem" not in run.out
    assert "4 acceptance cases passed" in run.out
    run = ckd_run(tmp_path, "doctor", tiny_bundle, "--json")
    checks = {check["what"]: check["status"] for check in json.loads(run.out)}
    assert checks["bundle"] == checks["onnxruntime"] == "ok"


def test_the_doctor_tests_what_the_environment_says(tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    variables = {
        "CKD_BACKEND": "openvino", "CKD_DEVICE": "cpu", "CKD_BUNDLE": str(tiny_bundle),
        "CKD_THREADS": "1", "CKD_CACHE": str(tmp_path / "cache"),
    }  # fmt: skip
    run = ckd_run(tmp_path, "doctor", **variables)
    assert (run.code, run.err) == (0, "")
    assert " on openvino in fp32, 4 acceptance cases passed" in run.out
    run = ckd_run(tmp_path, "doctor", **{**variables, "CKD_BACKEND": "tensorrt"})
    assert run.code == 2
    assert "tensorrt runs on a GPU" in run.out


def test_the_doctor_names_a_broken_bundle_and_ends_with_its_exit_code(
    bundle_copy: Path, tmp_path: Path
) -> None:
    flip_byte(bundle_copy)
    run = ckd_run(tmp_path, "doctor", bundle_copy)
    assert run.code == 5
    assert len(run.err.splitlines()) == len(run.errors) == 1
    (line,) = (line for line in run.out.splitlines() if line.startswith("problem"))
    assert "cls.fp32.onnx was changed" in line


@pytest.mark.skipif(not embedded_bundle().is_dir(), reason="no bundle is embedded yet")
def test_without_any_flag_the_embedded_bundle_is_used(tmp_path: Path) -> None:
    make(tmp_path, {"colour.png": GOOD_IMAGES["colour.png"]})
    run = ckd_run(tmp_path, "image", "colour.png", "--json")
    assert run.code == 0
    assert run.records[0]["bundle"].startswith("ckdnet-mobile@")


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    run = ckd_run(tmp_path, "--version")
    assert (run.code, run.out.strip(), run.err) == (0, ckd_version(), "")


SUBCOMMANDS = [command.name for command in cli.registered_commands if command.name]


def test_the_subcommands_are_the_documented_ones() -> None:
    assert sorted(SUBCOMMANDS) == ["camera", "doctor", "image", "info", "replay", "video"]


@pytest.mark.parametrize("command", ["", *SUBCOMMANDS])
def test_help_is_there_for_every_command(tmp_path: Path, command: str) -> None:
    run = ckd_run(tmp_path, *filter(None, [command]), "--help")
    assert (run.code, run.err) == (0, "")
    assert f"ckd-run {command}".strip() in run.out
    if command in ("image", "video", "camera"):
        for flag in ("--bundle", "--backend", "--device", "--precision", "--out", "--json"):
            assert flag in run.out

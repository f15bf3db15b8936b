"""Descriptions of cascades and unit files of any kind are read, or refused in one line."""

from pathlib import Path

import pytest

strategies = pytest.importorskip("strategies", reason="hypothesis is not installed")

from ckd.contract.cascade_json import spec_from_json, spec_to_json
from ckd.contract.errors import BundleError, InputError
from ckd.runtime.unit import read_unit


def test_a_description_is_read_and_written_as_it_is_or_refused() -> None:
    seen: set[bool] = set()

    def read(content: bytes) -> None:
        spec, refusal = None, "cascade.json: "
        try:
            spec = spec_from_json(content)
        except BundleError as error:
            refusal = str(error)
        seen.add(spec is not None)
        assert refusal.startswith("cascade.json: ")
        assert "\n" not in refusal
        if spec is not None:
            assert spec_from_json(spec_to_json(spec)) == spec
            assert all(type(size) is int and size > 0 for of in spec.shapes.values() for size in of)

    strategies.tried(read, strategies.cascades(), 0, 300)
    assert seen == {True, False}


def test_a_unit_file_is_read_or_refused(tmp_path: Path) -> None:
    path, seen = tmp_path / "unit.toml", set[bool]()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        refusal = ""
        try:
            read_unit(path)
        except InputError as error:
            refusal = str(error)
        seen.add(not refusal)
        assert not refusal or refusal.startswith(f"{path}: ")
        assert "\n" not in refusal

    strategies.tried(read, strategies.unit_files(), 0, 300)
    assert seen == {True, False}

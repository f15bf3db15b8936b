"""JSON and TOML are read by `ckd.contract.parsing`, whose limits hold for all of it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("runtime", "train", "export", "calibration", "benchmarks")
HOME = ROOT / "runtime/ckd/contract/parsing.py"
#: Reads the lock file that uv wrote a moment ago, of any length.
EXCEPTIONS = {ROOT / "export/ckd/export/supply/pins.py"}


def test_json_and_toml_are_read_in_one_place() -> None:
    parsers = {("json", "load"), ("json", "loads"), ("json", "JSONDecoder")}
    found = []
    for path in (path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id=module), attr=name):
                    reads = (module, name) in parsers
                case ast.ImportFrom(module="json", names=names):
                    reads = any(("json", one.name) in parsers for one in names)
                case ast.Import(names=names):
                    reads = any(one.name in ("tomllib", "tomli") for one in names)
                case _:
                    reads = False
            if reads:
                found.append(path)
    assert HOME in found, "the search finds nothing"
    others = [str(path.relative_to(ROOT)) for path in found if path not in {HOME, *EXCEPTIONS}]
    assert not others, f"use parse_json, read_json, parse_toml or read_toml: {', '.join(others)}"

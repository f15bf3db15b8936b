"""JSON and TOML are read by `ckd.contract.parsing`, whose limits hold for all of it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("runtime", "train", "export", "calibration", "benchmarks")
HOME = ROOT / "runtime/ckd/contract/parsing.py"
#: Reads the lock file that uv wrote a moment ago, of any length.
EXCEPTIONS = {ROOT / "export/ckd/export/supply/pins.py"}
#: Of the standard library, and of pydantic, which has a parser of its own.
READERS = {"load", "loads", "JSONDecoder", "validate_json", "model_validate_json", "parse_raw"}


def _reads(node: ast.AST) -> bool:
    """Whether it names a parser, or hides one behind a name of its own."""
    match node:
        case ast.Attribute(value=ast.Name(id="json"), attr=name):
            return name in READERS
        case ast.Attribute(attr="validate_json" | "model_validate_json" | "parse_raw"):
            return True
        case ast.ImportFrom(module="pydantic_core", names=names):
            return any(one.name == "from_json" for one in names)
        case ast.ImportFrom(module="json", names=names):
            return any(one.name in READERS for one in names)
        case ast.ImportFrom(module=("json.decoder" | "tomllib" | "tomli")):
            return True
        case ast.Import(names=names):
            hidden = [one for one in names if one.name == "json" and one.asname]
            return bool(hidden) or any(
                one.name in ("json.decoder", "tomllib", "tomli") for one in names
            )
    return False


def test_the_search_knows_every_way_to_write_it() -> None:
    for line in (
        "json.loads(x)", "from json import loads as read", "import json as j", "import tomllib",
        "import tomli as tomllib", "from tomllib import loads", "from json.decoder import x",
        "Adapter.validate_json(x)", "from pydantic_core import from_json",
        "Model.model_validate_json(x)", "json.JSONDecoder()",
    ):  # fmt: skip
        assert any(map(_reads, ast.walk(ast.parse(line)))), line
    for line in ("json.dumps(x)", "import json", "from json import dumps", "numpy.load(x)"):
        assert not any(map(_reads, ast.walk(ast.parse(line)))), line


def test_json_and_toml_are_read_in_one_place() -> None:
    found = []
    for path in (path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if _reads(node):
                found.append(path)
    assert HOME in found, "the search finds nothing"
    others = [str(path.relative_to(ROOT)) for path in found if path not in {HOME, *EXCEPTIONS}]
    assert not others, f"use parse_json, read_json, parse_toml or read_toml: {', '.join(others)}"

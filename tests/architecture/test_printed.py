"""Text that leaves a command goes through the one rule for it (`ckd.contract.escapes`)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for folder in ("runtime", "train", "export", "calibration", "benchmarks")
    for path in sorted((ROOT / folder / "ckd").rglob("*.py"))
]

#: File -> why it prints without the helpers of `ckd.console`.
EXCEPTIONS = {
    "runtime/ckd/console/progress.py": "these are the helpers",
    "runtime/ckd/console/tables.py": "its cells are printable",
    "benchmarks/ckd/benchmarks/gpu/machine.py": "runs where nothing but NumPy may be installed",
}


def prints(tree: ast.Module) -> list[int]:
    """Lines of calls that print something other than JSON, whose escapes are JSON's own."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not (node.args and is_json(node.args[0]))
    ]


def is_json(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "json.dumps"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_printed_for_people_is_printable(path: Path) -> None:
    name, lines = path.relative_to(ROOT).as_posix(), prints(ast.parse(path.read_text()))
    assert bool(lines) == (name in EXCEPTIONS), f"{name}, lines {lines}: use console.show or say"


def test_what_prints_is_found() -> None:
    found = prints(ast.parse("print(name)\nprint(json.dumps(x))\nprint(json.dumps(x) if y else z)"))
    assert found == [1, 3]

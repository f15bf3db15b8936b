"""What each package offers to the others: `__all__` of its `__init__.py`, and nothing else.

A name may be imported from the module it lives in, but from outside its package folder only if that
package exports it. `exports.txt` lists all exported names, so that every change is deliberate:
`python tests/architecture/test_exports.py --update` writes it anew.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
EXPORTS = Path(__file__).with_name("exports.txt")
SOURCE_ROOTS = ("train", "export", "runtime", "calibration", "benchmarks")


@cache
def modules() -> dict[str, ast.Module]:
    """The syntax tree of every source file by the name of its module."""
    trees = {}
    for root in SOURCE_ROOTS:
        for path in sorted((ROOT / root / "ckd").rglob("*.py")):
            parts = path.relative_to(ROOT / root).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            trees[name] = ast.parse(path.read_text())
    return trees


@cache
def exports() -> dict[str, tuple[str, ...]]:
    """The names in `__all__` of every package."""
    return {
        package: all_of(modules()[package]) if package in modules() else ()
        for package in sorted({name.rpartition(".")[0] for name in modules()} - {"ckd"})
    }


def all_of(tree: ast.Module) -> tuple[str, ...]:
    """The names in a literal `__all__`; none if there is no such list."""
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else target
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            assert isinstance(node.value, ast.List)
            return tuple(ast.literal_eval(node.value))
    return ()


def exports_text() -> str:
    return "".join(f"{package}: {' '.join(names)}\n" for package, names in exports().items())


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Every name of ours that a file takes from another file, with the module it takes it from.

    Imports inside functions and those for types only count too, and so does `rewrite.explained`
    after `from ckd.train.systems import rewrite`.
    """
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ckd":
            for alias in node.names:
                if f"{node.module}.{alias.name}" in modules():
                    aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                else:
                    yield str(node.module), alias.name
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = aliases.get(node.value.id)
            if module is not None:
                yield module, node.attr


def package_of(module: str) -> str:
    """The nearest package folder of a module; of a package, itself."""
    return module if module in exports() else module.rpartition(".")[0]


def test_every_folder_of_sources_is_a_package_that_names_its_exports() -> None:
    for package in exports():
        assert package in modules(), f"{package} has no __init__.py"
        tree = modules()[package]
        assert ast.get_docstring(tree), package
        assert "__all__" in ast.unparse(tree), package


def test_the_exported_names_are_those_of_the_list() -> None:
    update = f"python {Path(__file__).relative_to(ROOT)} --update"
    assert exports_text() == EXPORTS.read_text(), f"If this change is meant: {update}"


@pytest.mark.parametrize("package", exports())
def test_no_name_is_exported_twice_or_hidden_by_a_module(package: str) -> None:
    """A function `fit` of a module `fit` cannot be exported: the package's `fit` is the module."""
    names = exports()[package]
    assert len(set(names)) == len(names)
    assert not [name for name in names if f"{package}.{name}" in modules()]


def test_what_leaves_a_package_is_exported_by_it() -> None:
    unlisted = []
    for module, tree in modules().items():
        for home, name in imports(tree):
            package = package_of(home)
            inside = module == package or module.startswith(f"{package}.")
            hidden = f"{package}.{name}" in modules()
            if not inside and not hidden and name not in exports()[package]:
                unlisted.append(f"{module} takes {name} of {home}, which {package} does not export")
    assert not unlisted, "\n".join(unlisted)


@pytest.mark.parametrize("package", exports())
def test_every_exported_name_can_be_imported_from_its_package(package: str) -> None:
    if package.startswith(("ckd.train", "ckd.export", "ckd.benchmarks")):
        pytest.importorskip("torch")
    loaded = importlib.import_module(package)
    assert {*exports()[package]} <= {*dir(loaded)}
    for name in exports()[package]:
        assert not isinstance(getattr(loaded, name), ModuleType), name


def test_a_package_has_no_other_name() -> None:
    with pytest.raises(AttributeError, match=r"module 'ckd\.runtime' has no attribute 'Nothing'"):
        importlib.import_module("ckd.runtime").Nothing  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        exec("from ckd.runtime import Nothing")


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(f"usage: {Path(__file__).name} --update")
    EXPORTS.write_text(exports_text())

"""Sphinx extension: one page of API reference for each package, made from its `__all__`.

`api-packages` in a page becomes the list of these pages. They are written below `docs/api/` before
Sphinx reads its sources, and only when their text changes.
"""

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import get_origin

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import ckd

PAGES = Path(__file__).parent / "api"
_plain: dict[str, list[str]] = {}  # docstrings of properties, by name
_CODE = re.compile(r"(``.+?``|:[\w:]+:`[^`]+`|`[^`]+`)")


def packages() -> Iterator[ModuleType]:
    """All packages of the `ckd` namespace, those inside packages too, in alphabetical order."""
    pending = list(pkgutil.iter_modules(ckd.__path__, "ckd."))
    while pending:
        pending.sort(key=lambda module: module.name)
        module = pending.pop(0)
        if module.ispkg:
            package = importlib.import_module(module.name)
            yield package
            pending += pkgutil.iter_modules(package.__path__, f"{module.name}.")


@cache
def described() -> list[ModuleType]:
    """The packages that say in `__all__` what others may use."""
    return [package for package in packages() if getattr(package, "__all__", None)]


def page(package: ModuleType) -> str:
    """The reStructuredText of a package's page; its names in the order of `__all__`."""
    title = f"``{package.__name__}``"
    lines = [title, "=" * len(title), "", f".. automodule:: {package.__name__}", "   :no-members:"]
    for name in package.__all__:
        lines += ["", *_entry(package, name)]
    return "\n".join(lines) + "\n"


def _entry(package: ModuleType, name: str) -> list[str]:
    value, path = getattr(package, name), f"{package.__name__}.{name}"
    if (home := _home(value, name, package)) is not package:
        return [f"``{name}``", f"   See :py:obj:`{home.__name__}.{name}`."]
    if inspect.isclass(value) and get_origin(value) is None:
        return [f".. autoclass:: {path}", "   :members:", "   :show-inheritance:"]
    if inspect.isroutine(value):
        return [f".. autofunction:: {path}"]
    if inspect.ismodule(value):
        return [f"- :py:mod:`{value.__name__}`"]
    shown = isinstance(value, str | int | float | tuple) and len(repr(value)) <= 80
    options = [f"   :value: {value!r}"] if shown else []
    return [f".. py:data:: {path}", *options, "", *_comment_on(package, name)]


def _home(value: object, name: str, package: ModuleType) -> ModuleType:
    """The package that describes an object which several of them offer: where it is defined."""
    module = str(getattr(value, "__module__", "") or "")
    offering = [
        other
        for other in described()
        if f"{module}.".startswith(f"{other.__name__}.") and name in other.__all__
    ]
    return max(offering, key=lambda other: len(other.__name__), default=package)


def _comment_on(package: ModuleType, name: str) -> list[str]:
    """The `#:` lines above a constant or a type alias, where one of the package's modules sets it.

    A package's own names may come from any other package, so all modules that it imports from are
    looked at.
    """
    for source in _sources(package):
        lines = source.splitlines()
        for statement in ast.parse(source).body:
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                first = last = statement.lineno - 1
                while first and lines[first - 1].startswith("#:"):
                    first -= 1
                return [f"   {line.removeprefix('#:').strip()}" for line in lines[first:last]]
    return []


def _sources(package: ModuleType) -> Iterator[str]:
    text = inspect.getsource(package)
    yield text
    for statement in ast.walk(ast.parse(text)):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("ckd."):
            yield inspect.getsource(importlib.import_module(str(statement.module)))


def write_pages(app: Sphinx) -> None:
    """Write the page of every package that has one, and remove all others."""
    PAGES.mkdir(exist_ok=True)
    pages = {PAGES / f"{package.__name__}.rst": page(package) for package in described()}
    for path in set(PAGES.glob("*.rst")) - set(pages):
        path.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def keep(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Before napoleon, which takes what stands before a colon for the type of a property."""
    if what == "property" and not any(line.strip() == "Raises:" for line in lines):
        _plain[name] = list(lines)


def escape(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep reStructuredText from reading `|x|` as a substitution, and `X`s as unfinished code."""
    lines[:] = _plain.pop(name, lines)
    for number, line in enumerate(lines):
        parts = _CODE.split(line)  # every second one is code
        parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
        for place in range(2, len(parts), 2):
            if parts[place][:1].isalnum():
                parts[place] = "\\ " + parts[place]
        lines[number] = "".join(parts)


def sign(app: Sphinx, what: str, name: str, obj: object, *rest: object) -> tuple[str, str] | None:
    """A protocol is never called, so it is shown without arguments."""
    return ("", "") if what == "class" and getattr(obj, "_is_protocol", False) else None


class ApiPackages(SphinxDirective):
    """The list of the packages' pages, as a `toctree`."""

    def run(self) -> list[nodes.Node]:
        """Give the tree of pages to Sphinx."""
        text = ["```{toctree}", ":maxdepth: 1", ""]
        text += [f"api/{name}" for name in sorted(path.stem for path in PAGES.glob("*.rst"))]
        return self.parse_text_to_nodes("\n".join([*text, "```"]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("api-packages", ApiPackages)
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", escape, priority=600)  # after napoleon
    app.connect("autodoc-process-signature", sign)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

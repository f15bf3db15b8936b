"""Recipes as text: read from JSON and changed by `--set`, with the checks of the original."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ckd.contract.errors import UsageError
from ckd.contract.parsing import parse_json, read_json
from ckd.train.recipes.recipe import Recipe

#: The kinds of entries of `Recipe.stages`, as pydantic names them in an address.
_KINDS = ("stage", "soup")


def load_recipe(path: Path) -> Recipe:
    """Read a file that `Recipe.save` wrote; `UsageError` says what is wrong in it."""
    try:
        tree = read_json(path)
    except ValueError as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
    return _validated(tree, str(path))


def with_overrides(recipe: Recipe, overrides: list[str]) -> Recipe:
    """A copy with ``a.b.c=value`` settings applied; stages and losses go by their name.

    Raises:
        UsageError: an unknown setting (with the nearest known one) or a value that does not fit.
    """
    tree: dict[str, Any] = parse_json(json.dumps(asdict(recipe)))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: expected NAME=VALUE")
        *parents, leaf = path.split(".")
        branch: Any = tree
        for key in [*parents, leaf][:-1]:
            branch = _child(branch, key, override)
        if isinstance(branch, list) or leaf not in branch:
            raise UsageError(_unknown(override, leaf, _keys(branch)))
        try:
            branch[leaf] = parse_json(text)
        except ValueError:
            branch[leaf] = text
    return _validated(tree, "--set")


def _child(branch: Any, key: str, override: str) -> Any:
    if isinstance(branch, list):
        for child in branch:
            if child["name"] == key:
                return child
    elif isinstance(branch.get(key), dict) or key in ("stages", "losses"):
        return branch[key]
    raise UsageError(_unknown(override, key, _keys(branch)))


def _keys(branch: Any) -> list[str]:
    return [item["name"] for item in branch] if isinstance(branch, list) else list(branch)


def _unknown(override: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"--set {override}: unknown setting {key!r}; {hint}"


def _validated(tree: Any, where: str) -> Recipe:
    try:
        return TypeAdapter(Recipe).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(_address(tree, first["loc"]))
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise UsageError(f"{where}: {place}: {first['msg']}{got}") from error


def _address(tree: Any, place: Sequence[int | str]) -> list[str]:
    """Address of a setting as `--set` takes it: stages and losses go by name if they have one."""
    parts, branch = [], tree
    for number, key in enumerate(place, 1):
        try:
            branch = branch[key]
        except (KeyError, IndexError, TypeError):
            if number < len(place) or key in _KINDS:
                continue  # a union's member, which the text does not name
        named = isinstance(key, int) and isinstance(branch, dict)
        parts.append(str(branch.get("name", key) if named else key))
    return parts

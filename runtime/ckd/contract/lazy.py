"""Packages whose names are loaded when they are first used (PEP 562)."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """Gives a package its `__getattr__`, which imports the module that a name lives in.

    `homes` holds for each module its names, separated by spaces; `dir(package)` lists them too. Any
    other name raises AttributeError, as in every module.
    """
    module_of = {name: module for module, names in homes.items() for name in names.split()}
    content = vars(sys.modules[package])
    content["__dir__"] = lambda: sorted({*content, *module_of})

    def load(name: str) -> object:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(module_of[name]), name)

    return load

"""The file of fitted sections: training writes it, evaluation judges by it, export takes it in."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.contract.spec import SECTION_NAMES, Section
from ckd.contract.whole_file import replace_file

FITTED_SECTIONS: Final = "sections.json"


def write_fitted(folder: Path, contents: Mapping[str, Any]) -> dict[str, Any]:
    """Write the contents of sections, by their names; gives what the file holds.

    Raises:
        OSError: the file cannot be written.
    """
    tree = {name: {"informative": False, "content": part} for name, part in contents.items()}
    replace_file(folder / FITTED_SECTIONS, (json.dumps(tree, indent=2) + "\n").encode())
    return tree


def read_fitted(folder: Path) -> dict[str, Section]:
    """The sections that lie in a folder, by name.

    Raises:
        InputError: there are none, or the file is damaged; what a section's own rule demands of it
            is checked where the rule is made.
    """
    path = folder / FITTED_SECTIONS
    try:
        tree = read_json(path)
        if not isinstance(tree, dict) or not tree:
            raise ValueError("it holds no section")
        for name, part in tree.items():
            if name not in SECTION_NAMES:
                raise ValueError(f"{name!r} is none of {', '.join(SECTION_NAMES)}")
            if part["informative"] is not False or not isinstance(part["content"], dict):
                raise ValueError(f"{name} is no section")
        return {name: Section(part["content"]) for name, part in tree.items()}
    except FileNotFoundError:
        raise InputError(
            f"{path} is not there; `ckd-train sections` fits sections and writes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({error}); `ckd-train sections` makes it anew"
        ) from error

"""The file of fitted sections: training writes it, evaluation judges by it, export takes it in."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ckd.contract.errors import InputError
from ckd.contract.parsing import read_json
from ckd.contract.spec import SECTION_NAMES, Section
from ckd.contract.whole_file import replace_file

FITTED_SECTIONS: Final = "sections.json"


#: In the file beside the sections.
_SOURCE: Final = "source"
#: What it always holds: the same recipe on other images trains other weights.
_STATED: Final = ("recipe_digest", "data_digest")
#: Sections that no answer of a network rests on.
_OF_NO_ANSWER: Final = {"capture"}


@dataclass(frozen=True, slots=True)
class Fitted:
    """Sections, and the networks on whose answers they were fitted.

    Attributes:
        sections: by name.
        source: digests by the names that a bundle's provenance has for them: "recipe_digest" and
            "data_digest", and "weights_digest" where the shipped networks took part. Empty for
            sections that rest on no network's answers, and in files of earlier versions.
    """

    sections: Mapping[str, Section]
    source: Mapping[str, str]

    @property
    def of_no_answer(self) -> bool:
        """Whether none of the sections rests on what a network answers."""
        return set(self.sections) <= _OF_NO_ANSWER

    def check_networks(self, folder: Path, stated: Mapping[str, Any], name: str) -> None:
        """Make sure that they were fitted for these networks.

        Args:
            folder: of the sections.
            stated: what is known of the networks, by the names of `source`.
            name: of the networks, for messages.

        Raises:
            InputError: they were fitted for others, or one of both does not say for which.
        """
        if not self.of_no_answer and not set(_STATED) <= self.source.keys():
            raise InputError(
                f"{folder}: says not of which networks, as an earlier ckd wrote it; repeat "
                "`ckd-train sections`"
            )
        for digest, theirs in self.source.items():
            ours = str(stated.get(digest, "not stated"))
            if ours != theirs:
                raise InputError(
                    f"{folder}: fitted for networks whose {digest.replace('_', ' ')} is "
                    f"{theirs[:12]}..., and that of {name} is {ours[:12]}; fit sections for its "
                    "run, and export the run anew if an earlier ckd has"
                )


def write_fitted(
    folder: Path, contents: Mapping[str, Any], source: Mapping[str, str]
) -> dict[str, Any]:
    """Write the contents of sections by their names, and what `Fitted.source` is; gives the former.

    Raises:
        OSError: the file cannot be written.
    """
    tree = {name: {"informative": False, "content": part} for name, part in contents.items()}
    held = {_SOURCE: dict(source), **tree} if source else tree
    replace_file(folder / FITTED_SECTIONS, (json.dumps(held, indent=2) + "\n").encode())
    return tree


def read_fitted(folder: Path) -> Fitted:
    """The sections that lie in a folder.

    Raises:
        InputError: there are none, or the file is damaged; what a section's own rule demands of it
            is checked where the rule is made.
    """
    path = folder / FITTED_SECTIONS
    try:
        tree = read_json(path)
        source = tree.pop(_SOURCE, {}) if isinstance(tree, dict) else {}
        if not isinstance(tree, dict) or not tree:
            raise ValueError("it holds no section")
        if not isinstance(source, dict) or not all(map(_is_digest, source.values())):
            raise ValueError(f"{_SOURCE} is no object of digests")
        for name, part in tree.items():
            if name not in SECTION_NAMES:
                raise ValueError(f"{name!r} is none of {', '.join(SECTION_NAMES)}")
            if part["informative"] is not False or not isinstance(part["content"], dict):
                raise ValueError(f"{name} is no section")
        sections = {name: Section(part["content"]) for name, part in tree.items()}
        return Fitted(sections, source)
    except FileNotFoundError:
        raise InputError(
            f"{path} is not there; `ckd-train sections` fits sections and writes it"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: damaged ({error}); `ckd-train sections` makes it anew"
        ) from error


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None

"""Sphinx extension: links from a page to files outside `docs/`, which Sphinx makes no pages of.

On a code host such links work as they stand. Here a file becomes a download, except where a page
shows it, and a folder becomes text.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

#: Page of these docs -> file outside that it shows.
SHOWN = {
    "model_card.md": "../runtime/ckd/runtime/bundles/ckdnet-mobile/model_card.md",
    "contributing.md": "../CONTRIBUTING.md",
    "changelog.md": "../CHANGELOG.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)]+)\)")


def rewrite(app: Sphinx, page: str, source: list[str]) -> None:
    """Rewrite the links of a page before it is parsed."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        for shown_on, path in SHOWN.items():
            if target == path:
                return f"[{text}]({shown_on})"
        return text if (Path(app.srcdir) / target).is_dir() else f"[{text}](path:{target})"

    source[0] = _LINK.sub(link, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", rewrite)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

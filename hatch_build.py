"""Writes into every wheel which commit it was built from, for studies to remember."""

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

#: In a source distribution, which has no history.
_COMMIT = "commit.txt"


class CommitHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds a file with the commit; an editable install gets none, and neither does a plain copy."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatch before it builds; ``version`` is "editable" or "standard"."""
        commit = self._commit()
        if version == "editable" or commit is None:
            return
        written = self._written()
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(commit + "\n")
        inside = _COMMIT if self.target_name == "sdist" else f"ckd/contract/{_COMMIT}"
        build_data["force_include"][str(written)] = inside

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatch afterwards: only what was built stays in the folder."""
        self._written().unlink(missing_ok=True)

    def _written(self) -> Path:
        return Path(self.directory) / f".{self.target_name}-{_COMMIT}"

    def _commit(self) -> str | None:
        root = Path(self.root)
        if (root / _COMMIT).is_file():
            return (root / _COMMIT).read_text().strip()
        try:
            commit = self._git("rev-parse", "HEAD")
            return commit + ("-changed" if self._git("status", "--porcelain") else "")
        except (OSError, subprocess.CalledProcessError):
            return None

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", self.root, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

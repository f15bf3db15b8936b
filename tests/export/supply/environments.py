"""Environments of Python with packages that tests make up."""

import base64
import hashlib
import subprocess
import sys
from pathlib import Path


class Environment:
    """An environment without pip, in a folder."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        (self.site,) = folder.glob("lib/python*/site-packages")

    def install(
        self, name: str, *metadata: str, version: str = "1.0", content: bytes = b""
    ) -> None:
        install(self.site, name, *metadata, version=version, content=content)


def install(
    site: Path, name: str, *metadata: str, version: str = "1.0", content: bytes = b"",
    file: str = "",
) -> Path:  # fmt: skip
    """Install a package of one file in a folder, as pip would; gives its folder of metadata."""
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    path = site / (file or f"{name}.py")
    path.write_bytes(content)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *metadata]
    (info / "METADATA").write_text("\n".join(lines) + "\n\n")
    (info / "INSTALLER").write_text("pip\n")
    listed = [f"{info.name}/RECORD,,", f"{info.name}/INSTALLER,,", f"../../../bin/{name},,"]
    for one in (path, info / "METADATA"):
        digest = base64.urlsafe_b64encode(hashlib.sha256(one.read_bytes()).digest())
        text = digest.rstrip(b"=").decode()
        listed.append(f"{one.relative_to(site)},sha256={text},{one.stat().st_size}")
    (info / "RECORD").write_text("\n".join(listed) + "\n")
    return info

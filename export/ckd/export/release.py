"""Signs the bundle that comes with `ckd`: python -m ckd.export.release

The private key is in the file that CKD_RELEASE_KEY names. Without one a key is made, used once and
thrown away, and the card says so. The public half is put beside the bundle, for the wheel.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from ckd import console
from ckd.contract.card import MODEL_CARD
from ckd.contract.hashes import HASHES, SIGNATURE, write_hashes
from ckd.contract.whole_file import replace_file
from ckd.export.sign import public_half, sign_bundle
from ckd.runtime.signed import embedded_bundle

RELEASE_KEY: Final = "CKD_RELEASE_KEY"
_SECTION: Final = re.compile(r"\n## Signature\n.*?(?=\n## |\Z)", re.DOTALL)
_RELEASED: Final = (
    "By the release key of this project; its public half is `release.pub` beside this bundle."
)
_EPHEMERAL: Final = (
    "By an ephemeral key, which was made for this signature and thrown away; its public half is "
    "`release.pub` beside this bundle. It shows that bundle and package were made together, and "
    "not by whom."
)


def sign_embedded(folder: Path, key: Path | None) -> str:
    """Sign a bundle in its place, with a word about the key in its card.

    Args:
        folder: of the bundle; `release.pub` is written beside it.
        key: private key in PEM; None for an ephemeral one.

    Returns:
        What the card says.

    Raises:
        CkdError: as `sign_bundle`.
    """
    said = _EPHEMERAL if key is None else _RELEASED
    with tempfile.TemporaryDirectory() as work:
        if key is None:
            key = Path(work) / "ephemeral.pem"
            key.write_bytes(_made_key())
        card = folder / MODEL_CARD
        text = _SECTION.sub("", card.read_text()).rstrip("\n")
        replace_file(card, f"{text}\n\n## Signature\n\n{said}\n".encode())
        (folder / SIGNATURE).unlink(missing_ok=True)
        write_hashes(folder)
        signed = Path(work) / "signed"
        sign_bundle(folder, signed, key)
        assert (signed / HASHES).read_bytes() == (folder / HASHES).read_bytes()
        replace_file(folder / SIGNATURE, (signed / SIGNATURE).read_bytes())
        replace_file(folder.parent / "release.pub", public_half(key))
    return said


def _made_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def main() -> None:
    """Sign the embedded bundle."""
    key = os.environ.get(RELEASE_KEY)
    console.run(lambda: print(sign_embedded(embedded_bundle(), Path(key) if key else None)))


if __name__ == "__main__":
    main()

"""Signs the bundle that comes with `ckd`: python -m ckd.export.release

The private key is in the file that CKD_RELEASE_KEY names, and its password, if it has one, in
CKD_KEY_PASSWORD. Without one a key is made, used once and
thrown away, and the card says so. The public half is put beside the bundle, for the wheel.
"""

import os
import re
import tempfile
from pathlib import Path
from typing import Final

from ckd import console
from ckd.contract.bundle import Bundle
from ckd.contract.card import MODEL_CARD
from ckd.contract.hashes import HASHES, SIGNATURE
from ckd.contract.whole_file import replace_file
from ckd.export.sign import KEY_PASSWORD, public_half, sign_bundle
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


def sign_embedded(folder: Path, key: Path | None, password: str | None = None) -> str:
    """Sign a bundle in its place, with a word about the key in its card.

    Nothing of it is changed before the signed copy is whole.

    Args:
        folder: of the bundle; `release.pub` is written beside it.
        key: private key in PEM; None for an ephemeral one.
        password: of the key, if it is encrypted.

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
        text = _SECTION.sub("", Bundle(folder).read(MODEL_CARD).decode()).rstrip("\n")
        signed = Path(work) / "signed"
        sign_bundle(
            folder, signed, key, password=password, card=f"{text}\n\n## Signature\n\n{said}\n"
        )
        for name in (MODEL_CARD, HASHES, SIGNATURE):
            replace_file(folder / name, (signed / name).read_bytes())
        replace_file(folder.parent / "release.pub", public_half(key, password))
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
    key, password = os.environ.get(RELEASE_KEY), os.environ.get(KEY_PASSWORD) or None
    console.run(
        lambda: console.show(sign_embedded(embedded_bundle(), Path(key) if key else None, password))
    )


if __name__ == "__main__":
    main()

"""`ckd-export sign` and `verify`: who made a bundle, and whether it is whole."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from ckd import console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def sign_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file.")],
    key: Annotated[Path, typer.Option(help="Private key of P-256, P-384 or P-521, in PEM.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    certificate: Annotated[
        Path | None, typer.Option(help="Certificate of the key, in PEM; needs --chain.")
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(help="Certificate of an issuer, up to that which devices trust; repeatable."),
    ] = None,
    serial: Annotated[
        int | None,
        typer.Option(min=0, max=10**18 - 1, help="Number of the release, for CKD_MIN_SERIAL."),
    ] = None,
) -> None:
    """Sign a bundle, so that devices with the public key run no other.

    The password of an encrypted key is read from the environment, CKD_KEY_PASSWORD.
    """
    from ckd.export.sign import KEY_PASSWORD, sign_bundle

    console.make_folder(out.parent)
    signer = sign_bundle(
        bundle,
        out,
        key,
        password=os.environ.get(KEY_PASSWORD) or None,
        certificate=certificate,
        chain=chain or (),
        serial=serial,
    )
    console.show(f"{out}: {bundle}, signed by {signer}")


def verify_command(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file.")],
    key: Annotated[
        list[Path] | None,
        typer.Option(
            help="Public key or certificate, in PEM, by which it must be signed; repeatable. "
            "Default: those that CKD_TRUSTED_KEYS names."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check signature, hashes, wiring and shapes, and repeat the recorded acceptance cases."""
    from ckd.export.verify import verify_bundle

    report = verify_bundle(bundle, console.progress_bar("checks"), key or None)
    if as_json:
        print(json.dumps(report))
        return
    console.show(
        f"{bundle}: {report['name']}, {report['num_files']} files, "
        f"{report['num_bytes'] / 1e6:.1f} MB, sha256 {report['sha256'][:12]}, {report['signature']}"
    )
    passed = ", ".join(f"{len(cases)} in {which}" for which, cases in report["cases"].items())
    console.show(f"hashes, wiring and shapes fit; acceptance cases passed: {passed}")

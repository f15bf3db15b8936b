"""`ckd-train sections`: what a bundle declares besides its networks, fitted."""

from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.contract.errors import UsageError
from ckd.train.cli_options import Accelerator, Data, Json


def sections_command(
    crossvalidation: Annotated[
        Path, typer.Argument(help="Folder of `ckd-train crossvalidate`, or a study's candidate.")
    ],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the sections and their report.")],
    only: Annotated[str, typer.Option(help="Sections to fit, as in outcome,mask.")] = "",
    accelerator: Accelerator = "auto",
    as_json: Json = False,
) -> None:
    """Fit when there is no finding, and how masks are cleaned up, on photographs held out.

    `ckd-export sections` writes the result into a bundle.
    """
    import json

    from ckd.train.sections import SECTIONS, fit_sections

    names = tuple(name.strip() for name in only.split(",")) if only else SECTIONS
    if unknown := set(names) - set(SECTIONS):
        raise UsageError(f"--only {min(unknown)!r}: expected some of {', '.join(SECTIONS)}")
    sections = fit_sections(
        crossvalidation, data, out, names, accelerator, bars=console.progress_bar
    )
    if as_json:
        print(json.dumps(sections))
        return
    for name in names:
        print((out / f"{name}.md").read_text())
    console.say(f"written to {out}; `ckd-export sections BUNDLE --from {out} --out NEW` uses it")

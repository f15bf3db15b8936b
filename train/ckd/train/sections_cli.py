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
    only: Annotated[
        str | None, typer.Option(help="Sections to fit, as in outcome,mask; default: all.")
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(help="Run of the shipped networks, to judge what is unlike their training."),
    ] = None,
    elsewhere: Annotated[
        Path | None,
        typer.Option(help="Data set of other diseases: tells how many lie apart; fits nothing."),
    ] = None,
    accelerator: Accelerator = "auto",
    as_json: Json = False,
) -> None:
    """Fit what a bundle decides by, on photographs held out: outcome, mask, probabilities, points,
    sets, refer.

    `ckd-export sections` writes the result into a bundle.
    """
    import json

    from ckd.train.sections import SECTIONS, fit_sections

    names = () if only is None else tuple(name.strip() for name in only.split(","))
    if unknown := set(names) - set(SECTIONS):
        raise UsageError(f"--only {min(unknown)!r}: expected some of {', '.join(SECTIONS)}")
    for option, given in (("--run", run), ("--elsewhere", elsewhere)):
        if given is not None and names and "refer" not in names:
            raise UsageError(f"{option} is about the section refer: add it to --only")
    if elsewhere is not None and run is None:
        raise UsageError("--elsewhere tells what lies apart from a run's training: give --run too")
    sections = fit_sections(
        crossvalidation, data, out, names,
        run=run, elsewhere=elsewhere, accelerator=accelerator, bars=console.progress_bar,
    )  # fmt: skip
    if as_json:
        print(json.dumps(sections))
        return
    for name in sections:
        console.show((out / f"{name}.md").read_text(), keep="\n")
    console.say(f"written to {out}; `ckd-export sections BUNDLE --from {out} --out NEW` uses it")

"""`ckd-train capture`: when a capture is good enough to be judged."""

from pathlib import Path
from typing import Annotated

import typer

from ckd import console
from ckd.train.cli_options import Data, Json


def capture_command(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the section and its report.")],
    scenes: Annotated[int, typer.Option(min=20, help="Generated pictures of 1080 px.")] = 100,
    photographs: Annotated[int, typer.Option(min=20, help="Training photographs.")] = 200,
    as_json: Json = False,
) -> None:
    """Fit when a capture is out of focus, moved, too bright or dark, glaring, or covered.

    `ckd-export sections` writes the result into a bundle.
    """
    import json

    from ckd.train.sections import fit_capture

    section = fit_capture(
        data, out, num_scenes=scenes, num_photographs=photographs, bars=console.progress_bar
    )
    if as_json:
        print(json.dumps(section))
        return
    console.show((out / "capture.md").read_text(), keep="\n")
    console.say(f"written to {out}; `ckd-export sections BUNDLE --from {out} --out NEW` uses it")

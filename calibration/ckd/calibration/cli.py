"""`ckd-calibrate`: look at what crosses between a bundle's networks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from ckd.contract import console

cli = console.app("Measure a bundle on images, as the ground for lower precision.")


@cli.command("ranges")
def ranges_command(
    images: Annotated[Path, typer.Argument(help="Folder of images like those of the device.")],
    bundle: Annotated[
        Path | None, typer.Option(help="Bundle folder or zip; default: the embedded one.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use so many images at most.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the range of every tensor between the networks, and its room in half precision."""
    from ckd.calibration.ranges import measure_ranges
    from ckd.runtime import Cascade
    from ckd.runtime.sources.images import images_below

    files = images_below(images)[:limit]
    with Cascade.load(bundle, "onnxruntime") as cascade:
        ranges = measure_ranges(cascade, files, console.progress_bar("images"))
    if as_json:
        print(json.dumps({name: found.as_dict() for name, found in ranges.items()}))
        return
    print(f"{'tensor':<16}{'low':>11}{'high':>11}{'mean':>11}{'std':>11}{'fp16 headroom':>15}")
    for name, found in ranges.items():
        print(
            f"{name:<16}{found.low:>11.4g}{found.high:>11.4g}{found.mean:>11.4g}"
            f"{found.std:>11.4g}{found.fp16_headroom:>14.3g}x"
        )


def main() -> None:
    """Entry point of `ckd-calibrate`."""
    console.run(cli)


if __name__ == "__main__":
    main()

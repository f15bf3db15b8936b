"""`ckd-calibrate`: what a bundle's tensors hold on real images, and INT8 files made from that."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from ckd.contract import console

cli = console.app("Measure a bundle on images, and give it INT8 files.")

Images = Annotated[Path, typer.Argument(help="Folder of images like those of the device.")]
BundlePath = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder or zip; default: the embedded one.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Use so many images at most.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@cli.command("ranges")
def ranges_command(
    images: Images,
    bundle: BundlePath = None,
    limit: Limit = 500,
    as_json: Json = False,
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


@cli.command("quantize")
def quantize_command(
    images: Images,
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    bundle: BundlePath = None,
    limit: Limit = 200,
    method: Annotated[
        str, typer.Option(help="Of choosing ranges: minmax, percentile or entropy.")
    ] = "percentile",
    keep_float: Annotated[
        list[str] | None,
        typer.Option("--float", help="A network to leave in float; can be repeated."),
    ] = None,
    residual_adds: Annotated[
        bool,
        typer.Option(help="Quantise the sums of residual blocks too; ONNX Runtime is faster so."),
    ] = True,
    as_json: Json = False,
) -> None:
    """Write a copy of a bundle with INT8 files, each network calibrated on what it really gets."""
    from typing import get_args

    from ckd.calibration.images import calibration_images
    from ckd.calibration.int8_bundle import quantise_bundle
    from ckd.calibration.quantize import Method, QuantSetting
    from ckd.contract.bundle import Bundle
    from ckd.contract.errors import UsageError
    from ckd.runtime import Cascade
    from ckd.runtime.cascade import embedded_bundle

    if method not in get_args(Method):
        raise UsageError(f"--method {method}: expected {', '.join(get_args(Method))}")
    source = Bundle(bundle or embedded_bundle())
    with Cascade.load(source.path, "onnxruntime") as cascade:
        usable = calibration_images(images, cascade, limit, console.progress_bar("images"))
    for path, why in usable.unusable.items():
        print(f"left out: {path}: {why}", file=sys.stderr)
    report = quantise_bundle(
        source,
        usable.paths,
        out,
        setting=QuantSetting(method=method, residual_adds=residual_adds),  # type: ignore[arg-type]
        float_nodes=keep_float or (),
        progress=_steps(len(source.manifest.nodes)),
    )
    if as_json:
        print(json.dumps(report.as_dict()))
        return
    print(f"{out}: calibrated on {len(usable.paths)} images")
    print(f"{'network':<16}{'float32':>12}{'INT8':>12}")
    for name, size in report.bytes_fp32.items():
        small = report.bytes_int8[name]
        text = "in float" if small == size else f"{small / 1e6:.2f} MB"
        print(f"{name:<16}{size / 1e6:>9.2f} MB{text:>12}")


def main() -> None:
    """Entry point of `ckd-calibrate`."""
    console.run(cli)


def _steps(num_networks: int) -> Callable[[str, int, int], None]:
    """One bar over all networks; each is told of anew, from its first image to its last."""
    tell = console.progress_bar("ranges")
    seen: list[str] = []

    def step(what: str, done: int, total: int) -> None:
        if what not in seen:
            seen.append(what)
        tell((len(seen) - 1) * total + done, num_networks * total)

    return step


if __name__ == "__main__":
    main()

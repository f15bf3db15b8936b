"""`ckd-calibrate`: ranges of a bundle's tensors on real images, and INT8 files made by them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ckd import console
from ckd.console.tables import print_table
from ckd.contract.errors import UsageError

if TYPE_CHECKING:
    from ckd.calibration.ranges import Range
    from ckd.calibration.sensitivity import Effect
    from ckd.contract.bundle import Bundle

cli = console.app("Measure a bundle on images, and give it INT8 files.")

Images = Annotated[Path, typer.Argument(help="Folder of images like those of the device.")]
BundlePath = Annotated[
    Path | None, typer.Option("--bundle", help="Bundle folder or zip; default: the embedded one.")
]
Limit = Annotated[int, typer.Option("--limit", min=50, help="Use so many images at most.")]
MethodName = Annotated[
    Literal["minmax", "percentile", "entropy"], typer.Option("--method", help="Of choosing ranges.")
]
TensorRt = Annotated[
    bool,
    typer.Option(
        "--tensorrt/--no-tensorrt", help="Also files for TensorRT, if the bundle has FP16 ones."
    ),
]
KeptFloat = Annotated[
    list[str] | None,
    typer.Option(
        "--float",
        help="A network, or network/part as `sensitivity` lists them, to leave in float; "
        "can be repeated.",
    ),
]
ResidualAdds = Annotated[
    bool,
    typer.Option(help="Quantise the sums of residual blocks too; ONNX Runtime is faster so."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@cli.command("ranges")
def ranges_command(
    images: Images,
    bundle: BundlePath = None,
    limit: Annotated[int, typer.Option(min=1, help="Use so many images at most.")] = 500,
    as_json: Json = False,
) -> None:
    """Measure the range of every tensor between the networks, and its room in half precision."""
    from ckd.calibration.images import spread
    from ckd.calibration.ranges import measure_ranges
    from ckd.runtime import Cascade
    from ckd.runtime.sources.images import images_below

    files = spread(images_below(images, say=console.say), limit)
    with Cascade.load(bundle, "onnxruntime") as cascade:
        ranges = measure_ranges(cascade, files, console.progress_bar("images"))
    if as_json:
        print(json.dumps({name: extent.as_dict() for name, extent in ranges.items()}))
        return
    numbers = ("low", "high", "mean", "std", "fp16 headroom")
    print_table(("tensor", *numbers), [_range_row(*item) for item in ranges.items()], numbers)


@cli.command("quantize")
def quantize_command(
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    images: Annotated[
        Path | None, typer.Argument(help="Folder of images like those of the device.")
    ] = None,
    bundle: BundlePath = None,
    limit: Limit = 200,
    method: MethodName = "percentile",
    keep_float: KeptFloat = None,
    residual_adds: ResidualAdds = True,
    tensorrt: TensorRt = True,
    learnt: Annotated[
        Path | None,
        typer.Option(
            help="Folder of `ckd-train qat`: take its weights and ranges, and measure none; "
            "needs no images, and what stays in float is what its placement says."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="With --learnt: data set whose images judge what INT8 costs; nothing is written "
            "if decisions change on over 1 % of them, or Jaccard falls by over 0.003."
        ),
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Of the data set.")] = "val",
    as_json: Json = False,
) -> None:
    """Write a copy of a bundle with INT8 files, each network calibrated on what it really gets."""
    from ckd.calibration.int8_bundle import QuantSetting, quantise_bundle
    from ckd.contract.bundle import check_new

    check_new(out)  # before anything is measured
    if (images is None) == (learnt is None):
        raise UsageError("give a folder of images to calibrate on, or --learnt FOLDER; one of them")
    if data is not None and learnt is None:
        raise UsageError("--data judges what was learnt; use `ckd-calibrate budget` with images")
    if learnt is not None and keep_float:
        raise UsageError("--float goes with images; what was learnt says what stays in float")
    console.make_folder(out.parent)
    if images is None:
        from ckd.calibration.cost import Budget
        from ckd.calibration.learnt_bundle import judged_learnt_bundle, quantise_learnt_bundle
        from ckd.data.layouts import read_unseen

        assert learnt is not None
        source = _opened(bundle)
        if data is None:
            report = quantise_learnt_bundle(source, learnt, out, tensorrt=tensorrt)
        else:
            samples = read_unseen(data, split, [source.spec], console.say)
            report = judged_learnt_bundle(
                source, learnt, out, samples, Budget(jaccard=0.003),
                tensorrt=tensorrt, bars=console.progress_bar,
            )  # fmt: skip
        how = f"by what was learnt in {learnt}"
    else:
        source, usable = _prepare(images, bundle, limit)
        setting = QuantSetting(
            method=method,
            residual_adds=residual_adds,
            keep_float=tuple(keep_float or ()),
            tensorrt=tensorrt,
        )
        report = quantise_bundle(source, usable, out, setting=setting, bars=console.progress_bar)
        how = f"calibrated on {len(usable)} images"
    if as_json:
        print(json.dumps(report.as_dict()))
        return
    console.show(f"{out}: {how}")
    rows = []
    for name, size in report.bytes_fp32.items():
        small = report.bytes_int8[name]
        text = "in float" if small == size else f"{small / 1e6:.2f} MB"
        rows.append((name, f"{size / 1e6:.2f} MB", text))
    print_table(("network", "float32", "INT8"), rows, ("float32", "INT8"))


@cli.command("placement")
def placement_command(
    out: Annotated[Path, typer.Option(help="File to write.")],
    bundle: BundlePath = None,
    keep_float: KeptFloat = None,
    residual_adds: ResidualAdds = True,
) -> None:
    """Write which tensors of a bundle's networks get Q/DQ, for `ckd-train qat`."""
    from ckd.calibration.int8_bundle import QuantSetting
    from ckd.calibration.placed import place
    from ckd.contract.placement import placement_to_json
    from ckd.contract.whole_file import replace_file
    from ckd.runtime.signed import open_bundle

    setting = QuantSetting(keep_float=tuple(keep_float or ()), residual_adds=residual_adds)
    placement = place(open_bundle(bundle), setting)
    console.make_folder(out.parent)
    replace_file(out, placement_to_json(placement).encode())
    rows = [
        (name, str(len(network.layers)), str(len(network.tensors)))
        for name, network in placement.networks.items()
    ]
    head = ("network", "layers in INT8", "tensors with Q/DQ")
    print_table(head, rows, head[1:])
    console.show(out)


@cli.command("sensitivity")
def sensitivity_command(
    images: Images,
    bundle: BundlePath = None,
    limit: Limit = 200,
    method: MethodName = "percentile",
    compared: Annotated[
        int, typer.Option(min=1, help="Answer so many of the images for every part.")
    ] = 32,
    out: Annotated[Path, typer.Option(help="Folder for the table and the plot.")] = Path(
        "runs/sensitivity"
    ),
    as_json: Json = False,
) -> None:
    """Quantise one part after another, and show what each does to the answers."""
    from ckd.calibration.int8_bundle import QuantSetting
    from ckd.calibration.plots import plot_sensitivity
    from ckd.calibration.sensitivity import measure_sensitivity
    from ckd.contract.whole_file import replace_file

    console.make_folder(out)  # before anything is measured
    source, usable = _prepare(images, bundle, limit)
    effects = measure_sensitivity(
        source, usable, QuantSetting(method=method), compared, console.progress_bar
    )
    record = [effect.as_dict() for effect in effects]
    replace_file(out / "sensitivity.json", (json.dumps(record, indent=1) + "\n").encode())
    plot_sensitivity(effects, out / "sensitivity.png", source.spec.name)
    if as_json:
        print(json.dumps(record))
        return
    numbers = ("probability", "mask", "worst mask")
    print_table(("", "INT8 in", *numbers), [_effect_row(effect) for effect in effects], numbers)
    console.say(f"plot in {out / 'sensitivity.png'}")


@cli.command("budget")
def budget_command(
    images: Images,
    data: Annotated[Path, typer.Option(help="Data set whose images judge what INT8 costs.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    split: Annotated[Literal["val", "test"], typer.Option(help="Of the data set.")] = "val",
    bundle: BundlePath = None,
    limit: Limit = 200,
    method: MethodName = "percentile",
    jaccard: Annotated[
        float, typer.Option(min=0, callback=console.finite, help="Loss of mean Jaccard allowed.")
    ] = 0.005,
    auc: Annotated[
        float, typer.Option(min=0, callback=console.finite, help="Loss of each task's AUC allowed.")
    ] = 0.005,
    flips: Annotated[
        float,
        typer.Option(
            min=0,
            callback=console.finite,
            help="Share of labels, decisions, referrals that may change.",
        ),
    ] = 0.01,
    melanoma_flips: Annotated[
        int, typer.Option(min=0, help="So many melanomas on which one may change.")
    ] = 0,
    tensorrt: TensorRt = True,
    as_json: Json = False,
) -> None:
    """Search what INT8 makes faster within a budget, and write that bundle; exit 4 if nothing."""
    from ckd.calibration.budget import search
    from ckd.calibration.cost import Budget
    from ckd.calibration.int8_bundle import QuantSetting
    from ckd.contract.bundle import check_new
    from ckd.data.layouts import read_unseen
    from ckd.runtime.signed import open_bundle

    check_new(out)  # before anything is measured
    console.make_folder(out.parent)
    spec = open_bundle(bundle).spec
    samples = read_unseen(data, split, [spec], console.say)
    source, usable = _prepare(images, bundle, limit)

    accepted = search(
        source,
        usable,
        samples,
        out,
        budget=Budget(jaccard=jaccard, auc=auc, flips=flips, melanoma_flips=melanoma_flips),
        setting=QuantSetting(method=method, tensorrt=tensorrt),
        tell=lambda trial: console.say(trial.summary()),
        bars=console.progress_bar,
    )
    if as_json:
        print(json.dumps(accepted.as_dict()))
        return
    console.show(
        f"{out}: INT8 in {', '.join(accepted.int8)}, "
        f"{accepted.speed_up:.2f} times as fast as float32"
    )


def main() -> None:
    """Entry point of `ckd-calibrate`."""
    console.run(cli)


def _range_row(name: str, extent: "Range") -> tuple[str, ...]:
    figures = (extent.low, extent.high, extent.mean, extent.std)
    return name, *(f"{figure:.4g}" for figure in figures), f"{extent.fp16_headroom:.3g}x"


def _effect_row(effect: "Effect") -> tuple[str, ...]:
    changes = (effect.probability_shift, effect.mask_change, effect.worst_mask_change)
    return effect.kind, effect.name, *("" if c is None else f"{c:.3f}" for c in changes)


def _prepare(images: Path, bundle: Path | None, limit: int) -> tuple["Bundle", Mapping[str, Path]]:
    """The bundle, and the images that can be calibrated on; the others are named on stderr."""
    from ckd.calibration.images import calibration_images
    from ckd.runtime import Cascade

    source = _opened(bundle)
    with Cascade.load(source.path, "onnxruntime") as cascade:
        chosen = calibration_images(
            images, cascade, limit, console.progress_bar("images"), console.say
        )
    for path, why in chosen.unusable.items():
        console.say(f"left out: {path}: {why}")
    return source, chosen.paths


def _opened(bundle: Path | None) -> "Bundle":
    from ckd.runtime.signed import open_source

    return open_source(bundle, console.say)


if __name__ == "__main__":
    main()

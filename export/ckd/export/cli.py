"""`ckd-export`: from a training run to a bundle, and proof that the bundle is whole."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ckd import console
from ckd.contract.errors import UsageError
from ckd.export.sign_cli import Json, sign_command, verify_command

if TYPE_CHECKING:
    from ckd.contract.bundle import Bundle

cli = console.app("Turn a trained run into a bundle that a device can run, and verify bundles.")


@cli.command("bundle")
def bundle(
    run: Annotated[Path, typer.Argument(help="Run folder of `ckd-train fit`.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    name: Annotated[str | None, typer.Option(help="Name of the bundle; default: recipe.")] = None,
    merge: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NODE,NODE",
            help="Export several nodes as one, as in seg=seg_encoder,seg_decoder; repeatable.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Let the classifier also say what each place adds to each label (class "
            "activation maps).",
        ),
    ] = False,
    precision: Annotated[
        str, typer.Option(help="Precisions of the files, as in fp32,fp16.")
    ] = "fp32",
    licence: Annotated[
        str, typer.Option(help="Licence of weights and data, for the model card.")
    ] = "not stated",
    notes: Annotated[
        Path | None,
        typer.Option(help="Markdown for the model card: how it was chosen, known failures."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Export every network to ONNX, prove the chain equal to PyTorch, and write a bundle."""
    from ckd.export.run import export_run

    report = export_run(
        run,
        out,
        name=name,
        merges=merge or (),
        explain=explain,
        precisions=precision.split(","),
        licence=licence,
        notes=notes,
        bars=console.progress_bar,
    )
    if as_json:
        errors = {p: {t.tensor: t.relative for t in parity} for p, parity in report.parity.items()}
        macs = {"trained": report.macs_trained, "exported": report.macs_exported}
        print(json.dumps({"relative_errors": errors, "macs": macs}))
        return
    size_mb = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
    console.show(f"{out}: {report.num_networks} networks, {size_mb:.1f} MB")
    for which, parity in report.parity.items():
        worst = max(parity, key=lambda tensor: tensor.relative)
        console.show(
            f"{which}: largest difference from PyTorch {worst.relative:.1e} standard deviations "
            f"({worst.tensor}, {len(parity)} tensors compared)"
        )
    console.show(
        f"{report.macs_exported / 1e9:.2f} GMAC an image, "
        f"{report.macs_trained / 1e9:.2f} as trained"
    )


cli.command("verify")(verify_command)
cli.command("sign")(sign_command)


@cli.command("shrink")
def shrink(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file.")],
    data: Annotated[Path, typer.Option(help="Data set folder with images to compare on.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which images.")] = "val",
    as_json: Json = False,
) -> None:
    """Keep float32 files with weights in half precision, if no decision changes on the images."""
    from dataclasses import asdict

    from ckd.data.layouts import read_unseen
    from ckd.export.shrink import shrink_bundle

    source = _opened(bundle)
    samples = read_unseen(data, split, [source.spec], console.say)
    report = shrink_bundle(source, samples, out, console.progress_bar)
    if as_json:
        print(json.dumps(asdict(report)))
        return
    console.show(
        f"{out}: {report.bytes_after / 1e6:.1f} MB, {bundle} has {report.bytes_before / 1e6:.1f}; "
        f"no decision changed on {report.num_images} images"
    )


@cli.command("sections")
def sections(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file.")],
    fitted: Annotated[Path, typer.Option("--from", help="Folder of `ckd-train sections`.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
    data: Annotated[
        Path | None, typer.Option(help="Data set folder with photographs to check on.")
    ] = None,
    split: Annotated[Literal["val", "test"], typer.Option(help="Which ones.")] = "val",
    as_json: Json = False,
) -> None:
    """Write what was fitted into a bundle: when it answers, what it does to masks, how it decides.

    With --data it is checked on that split, and temperatures of FP16 and INT8 are measured on the
    training images.
    """
    from dataclasses import asdict

    from ckd.data.layouts import read_unseen
    from ckd.data.samples import Sample, numbered_as
    from ckd.export.sections import write_sections

    source = _opened(bundle)
    samples, trained_on = None, tuple[Sample, ...]()
    if data is not None:
        unseen = read_unseen(data, split, [source.spec], console.say)
        exclusive = source.spec.outputs.exclusive
        samples = numbered_as(source.spec.labels, unseen, exclusive=exclusive)
        trained_on = read_unseen(data, "train", [source.spec]).samples
    report = write_sections(source, fitted, out, samples, trained_on, console.progress_bar)
    if as_json:
        print(json.dumps(asdict(report)))
        return
    checked = ""
    if samples is not None:
        checked = f"; {len(report.lost)} of {report.num_images} photographs get no answer"
    console.show(f"{out}: {bundle} with {', '.join(report.names) or 'no section'}{checked}")


@cli.command("upgrade")
def upgrade(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file of schema 1.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
) -> None:
    """Make a bundle that an older version of ckd wrote readable for this one."""
    from ckd.export.upgrade import upgrade_bundle

    upgrade_bundle(bundle, out)  # bundles of schema 1 were never signed
    console.show(f"{out}: {bundle} in schema 2; the networks are unchanged, the digest is new")


@cli.command("engine")
def engine(
    bundle: Annotated[
        Path | None, typer.Argument(help="Bundle folder or zip file; not for --list and --prune.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="As in fp32,fp16; default: all that the bundle has for TensorRT."),
    ] = None,
    device: Annotated[str, typer.Option(help="GPU to build on: auto, cuda or cuda:N.")] = "auto",
    show: Annotated[
        bool, typer.Option("--list", help="Show the engines that are kept on this machine.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove kept engines, those used longest ago first.")
    ] = False,
    keep_mb: Annotated[int, typer.Option(min=0, help="With --prune: leave so many megabytes.")] = 0,
    certificate: Annotated[
        bool, typer.Option("--certificate", help="Show what the bundle's engines proved here.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build a bundle's TensorRT engines for this machine, and let them prove themselves."""
    from ckd.export import engine_commands

    if sum((show, prune, certificate)) > 1:
        raise UsageError("--list, --prune and --certificate are three commands; give one")
    if bundle is not None and (show or prune):
        raise UsageError("--list and --prune are for the engines of all bundles; leave out BUNDLE")
    if keep_mb and not prune:
        raise UsageError("--keep-mb says what --prune leaves; give both or neither")
    if show:
        engine_commands.show_kept(as_json)
    elif prune:
        engine_commands.prune_kept(keep_mb, as_json)
    elif bundle is None:
        raise UsageError("which bundle? `ckd-export engine BUNDLE`, or --list or --prune")
    elif certificate:
        engine_commands.show_certificates(bundle, as_json)
    else:
        precisions = None if precision is None else precision.split(",")
        engine_commands.build(bundle, precisions, device, as_json)


def _opened(path: Path) -> "Bundle":
    """A bundle that another one is made of, which is not signed any more."""
    from ckd.runtime.signed import open_source

    return open_source(path, console.say)


def main() -> None:
    """Entry point of `ckd-export`."""
    console.run(cli)


if __name__ == "__main__":
    main()

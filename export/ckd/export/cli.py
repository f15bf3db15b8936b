"""`ckd-export`: from a training run to a bundle, and proof that the bundle is whole."""

import json
import re
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ckd import console
from ckd.contract.errors import InputError, UsageError
from ckd.contract.version import ckd_version

if TYPE_CHECKING:
    from ckd.train.recipes.recipe import Recipe
    from ckd.train.systems.graph import System

cli = console.app("Turn a trained run into a bundle that a device can run, and verify bundles.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


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
    from ckd.export.bundle import write_bundle
    from ckd.export.model_card import Evidence
    from ckd.train.fitting.run_folder import load_run
    from ckd.train.systems.rewrite import explained

    try:
        told = "" if notes is None else notes.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{notes}: cannot be read as text ({error})") from error
    curves = run / "learning_curves.png"

    recipe, system = load_run(run)
    scores = measured_scores(run, system)
    if explain:
        system = explained(system)
    for wish in merge or ():
        system = merged_as(system, wish)
    report = write_bundle(
        system,
        out,
        name=name or recipe.name,
        provenance=_provenance(run, recipe, licence),
        evidence=Evidence(
            scores=scores,
            learning_curves=curves if curves.is_file() else None,
            notes=told,
        ),
        precisions=precision.split(","),
        progress=_progress(),
    )
    if as_json:
        errors = {p: {t.tensor: t.relative for t in found} for p, found in report.parity.items()}
        macs = {"trained": report.macs_trained, "exported": report.macs_exported}
        print(json.dumps({"relative_errors": errors, "macs": macs}))
        return
    size_mb = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e6
    print(f"{out}: {len(system.nodes)} networks, {size_mb:.1f} MB")
    for which, found in report.parity.items():
        worst = max(found, key=lambda tensor: tensor.relative)
        print(
            f"{which}: largest difference from PyTorch {worst.relative:.1e} standard deviations "
            f"({worst.tensor}, {len(found)} tensors compared)"
        )
    print(
        f"{report.macs_exported / 1e9:.2f} GMAC an image, "
        f"{report.macs_trained / 1e9:.2f} as trained"
    )


@cli.command("verify")
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file.")],
    as_json: Json = False,
) -> None:
    """Check hashes, wiring and shapes, and repeat the recorded acceptance cases."""
    from ckd.export.bundle import verify_bundle

    report = verify_bundle(bundle, _progress())
    if as_json:
        print(json.dumps(report))
        return
    print(
        f"{bundle}: {report['name']}, {report['num_files']} files, "
        f"{report['num_bytes'] / 1e6:.1f} MB, sha256 {report['sha256'][:12]}"
    )
    passed = ", ".join(f"{len(cases)} in {which}" for which, cases in report["cases"].items())
    print(f"hashes, wiring and shapes fit; acceptance cases passed: {passed}")


@cli.command("upgrade")
def upgrade(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder or zip file of schema 1.")],
    out: Annotated[Path, typer.Option(help="Bundle folder to create.")],
) -> None:
    """Make a bundle that an older version of ckd wrote readable for this one."""
    from ckd.export.upgrade import upgrade_bundle

    upgrade_bundle(bundle, out)
    print(f"{out}: the networks of {bundle}, described anew; its hashes are others")


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


def main() -> None:
    """Entry point of `ckd-export`."""
    console.run(cli)


def merged_as(system: "System", wish: str) -> "System":
    """A system with the nodes fused that ``wish`` names, as NAME=NODE,NODE.

    Raises:
        UsageError: malformed, an unknown node, a name that another node has or that cannot be part
            of a file's, or nodes with another between them.
    """
    from ckd.train.systems.rewrite import merged

    into, _, nodes = wish.partition("=")
    names = nodes.split(",")
    if not re.fullmatch(r"\w+", into) or not all(names):
        raise UsageError(
            f"--merge {wish}: expected NAME=NODE,NODE, as in seg=seg_encoder,seg_decoder"
        )
    return merged(system, names, into)


def _provenance(run: Path, recipe: "Recipe", licence: str) -> dict[str, Any]:
    from ckd.train.fitting.run_folder import load_data

    data = load_data(run)
    return {
        "recipe": recipe.name,
        "method": recipe.system.about,
        "data": f"{data['name']}, {data['num_train']} training images",
        "data_digest": data["digest"],
        "split_by": recipe.split_by,
        "class_counts": dict(zip(data["labels"], data["class_counts"], strict=True)),
        "licence": licence,
        "exported": date.today().isoformat(),
        "versions": {"ckd": ckd_version(), "torch": version("torch"), "onnx": version("onnx")},
    }


def measured_scores(run: Path, system: "System") -> dict[str, Any] | None:
    """What `ckd-train evaluate` measured of this run, if it was run.

    Raises:
        InputError: damaged, or measured of other weights or at another mask threshold.
    """
    path = run / "evaluate" / "scores.json"
    if not path.is_file():
        return None
    try:
        scores = dict(json.loads(path.read_text()))
        measured = scores["weights"], scores["mask_threshold"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error!r}); run `ckd-train evaluate` again") from error
    if measured != (system.digest(), system.mask_threshold):
        raise InputError(
            f"{path}: measured of other weights or at another mask threshold; "
            "run `ckd-train evaluate` again"
        )
    return scores


def _progress() -> Callable[[str, int, int], None]:
    """A bar on a terminal, told (what, step, steps)."""
    tell = console.progress_bar("steps")
    return lambda what, step, steps: tell(step, steps)


if __name__ == "__main__":
    main()

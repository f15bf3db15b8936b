"""Options that several commands of `ckd-train` take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from ckd.train.networks.pretrained import Weights

Data = Annotated[Path, typer.Option(help="Data set folder (official ISIC layout, or plain).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
RecipeName = Annotated[str, typer.Option(help="Name of a recipe, or a recipe.json.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, as in --set stages.cls.epochs=40; repeatable."),
]
WeightsName = Annotated[
    str,
    typer.Option(
        help="Encoders start from: imagenet (fetched; torchvision's only), none, a state dict "
        "file, or a folder with one such file for each backbone, as in resnet50-*.pth."
    ),
]
Devices = Annotated[int, typer.Option(min=1, help="Number of processes (GPUs, or CPU with gloo).")]
Accelerator = Annotated[
    Literal["auto", "cpu", "gpu"],
    typer.Option(help="Where to run; auto takes a GPU if there is one."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that load images; default: none on a CPU, 8 with a GPU."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over in the folder.")]


def weights_named(name: str) -> "Weights":
    """What ``--weights`` names: "imagenet", nothing for "none", or a path."""
    if name == "imagenet":
        return "imagenet"
    return None if name == "none" else Path(name)

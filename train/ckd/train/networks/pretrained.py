"""Initial weights of the networks: torchvision's, and those of files."""

import difflib
import re
from collections.abc import Callable, Collection, Mapping, Set
from functools import cache
from pathlib import Path
from typing import Final, Literal

import torch
import torchvision.models as tv
from safetensors.torch import load_file
from torch import Tensor, nn

from ckd.contract.errors import EnvironmentUnusable, UsageError
from ckd.train.networks.state_dict import is_as_long_as_it_says, is_state_dict

#: "imagenet" lets torchvision fetch its weights, None initialises at random, a path reads a state
#: dict. For systems of several backbones the path is a folder that has a file for each, whose name
#: begins with that of the backbone.
Weights = Literal["imagenet"] | Path | None
_SUFFIXES = (".pth", ".safetensors")
#: Folder inside such a folder, with the files of timm's networks whose names torchvision has too.
TIMM_FOLDER: Final = "timm"
#: Arguments for torchvision when it builds a network without its weights.
_UNTRAINED: Mapping[str, Mapping[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


class Pretrained(nn.Module):
    """A part that may start from ImageNet weights and is trained with a stage's ``encoder_lr``.

    Attributes:
        fresh: modules of this part that do not start from ImageNet weights. They are trained with
            the rate of the other new layers, as in CKDNet's code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[nn.Module] = []

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """All parameters except those of ``fresh``."""
        new = {id(p) for module in self.fresh for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in new]


def imagenet_network(backbone: str, weights: Weights) -> nn.Module:
    """A torchvision classifier by its name; layers after its features may be initialised at random.

    Raises:
        UsageError: torchvision has no such classifier or no weights of it, or the file holds other
            weights.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """
    if backbone not in _classifiers():
        near = difflib.get_close_matches(backbone, _classifiers(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "expected such as resnet50"
        raise UsageError(f"torchvision has no classifier {backbone!r}; {hint}")
    build: Callable[..., nn.Module] = getattr(tv, backbone)
    untrained = _UNTRAINED.get(backbone, {})
    if weights is None:
        return build(weights=None, **untrained)
    if weights == "imagenet":
        try:
            return build(weights="IMAGENET1K_V1")
        except KeyError as error:
            raise UsageError(
                f"torchvision has no ImageNet weights for {backbone}; name a local state dict "
                "with --weights FILE, or train from noise with --weights none"
            ) from error
        except OSError as error:  # URLError is one
            raise EnvironmentUnusable(
                f"ImageNet weights for {backbone} could not be fetched ({error}); "
                "name a local state dict with --weights FILE, or train from noise with "
                "--weights none"
            ) from error
    network = build(weights=None, **untrained)
    names = {k for k in network.state_dict() if not k.startswith(("fc.", "classifier."))}
    load_weights(network, backbone, weights, names, _classifiers())
    return network


def load_weights(
    network: nn.Module, backbone: str, weights: Path, names: Set[str], known: Collection[str]
) -> None:
    """Fill a network from a state dict, or from the one in a folder that is named after it.

    Args:
        network: changed in place.
        backbone: name of the network, perhaps with a folder before it, as in timm/resnet18.
        weights: a .pth or .safetensors file, or a folder of such files.
        names: tensors that the file must have; it may lack counters of batches.
        known: names of all networks, by which files of a folder are told apart.

    Raises:
        UsageError: the file is no state dict, or one of another network.
        EnvironmentUnusable: there is no such file.
    """
    if weights.is_dir():
        weights = _file_for(backbone, weights, known)
    state = _read_state(weights, backbone)
    own = network.state_dict()  # it has the version of its format, which MNASNet requires
    missing = sorted(k for k in names - set(state) if not k.endswith("num_batches_tracked"))
    if missing:
        raise UsageError(
            f"{weights}: not {backbone} weights; {len(missing)} of {len(names)} tensors are "
            f"missing, the first is {missing[0]!r}"
        )
    kept = {name: tensor for name, tensor in state.items() if name in names}
    for name, tensor in kept.items():
        if tensor.shape != own[name].shape:
            raise UsageError(
                f"{weights}: tensors do not fit {backbone}: {name} is {list(tensor.shape)}, "
                f"expected {list(own[name].shape)}"
            )
    own.update(kept)
    network.load_state_dict(own)


def weight_files(folder: Path) -> list[Path]:
    """All files of a folder that `load_weights` may read, by folder and name."""
    return [
        path
        for inner in (folder, folder / TIMM_FOLDER)
        for path in sorted(inner.glob("*"))
        if path.suffix in _SUFFIXES
    ]


def _read_state(weights: Path, backbone: str) -> dict[str, Tensor]:
    try:
        if weights.suffix == ".safetensors":
            state = load_file(weights)
        elif not is_as_long_as_it_says(weights):
            raise ValueError("its parts are packed")
        else:
            state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise EnvironmentUnusable(f"{weights}: no such weight file for {backbone}") from None
    except Exception as error:
        raise UsageError(
            f"{weights}: not a PyTorch state dict; expected what torch.save wrote of a {backbone}"
        ) from error
    if not isinstance(state, dict):
        raise UsageError(f"{weights}: not a PyTorch state dict but a {type(state).__name__}")
    if not is_state_dict(state):
        raise UsageError(
            f"{weights}: not a PyTorch state dict; expected dense tensors by name, as torch.save "
            f"wrote them of a {backbone}, and nothing beside them"
        )
    # torchvision's own files of DenseNets have an older form of the names, with one more dot.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    return {old.sub(r"\1\2.", name): tensor for name, tensor in state.items()}


@cache
def _classifiers() -> tuple[str, ...]:
    return tuple(tv.list_models(module=tv))


def _file_for(backbone: str, folder: Path, known: Collection[str]) -> Path:
    """The weight file of a backbone, such as resnet50-0676ba61.pth for resnet50."""
    *inner, name = backbone.split("/")
    folder = folder.joinpath(*inner)
    files = [path for path in sorted(folder.glob("*")) if path.suffix in _SUFFIXES]
    files = [path for path in files if _backbone_of(path, known) == name]
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise EnvironmentUnusable(
            f"{folder}: expected one weight file {name}*.pth or {name}*.safetensors in it, "
            f"found {names}"
        )
    return files[0]


def _backbone_of(path: Path, known: Collection[str]) -> str | None:
    """The longest name that fits: vgg16_bn-6c64b313.pth belongs to vgg16_bn, not to vgg16."""
    fitting = (n for n in known if re.match(rf"{re.escape(n)}(?![a-zA-Z0-9])", path.stem))
    return max(fitting, key=len, default=None)

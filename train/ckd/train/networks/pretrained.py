"""torchvision's classifiers with the weights that training starts from."""

import difflib
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

import torch
import torchvision.models as tv
from torch import nn

from ckd.contract.errors import EnvironmentUnusable, UsageError

#: "imagenet" lets torchvision fetch its weights, None starts from noise, a path reads a state dict,
#: for systems of several backbones from a folder that has one for each, as torchvision names them.
Weights = Literal["imagenet"] | Path | None
#: What torchvision is told when it builds a network that its own weights do not come with.
_UNTRAINED: Mapping[str, Mapping[str, bool]] = {
    "googlenet": {"aux_logits": False, "init_weights": False},
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


class Pretrained(nn.Module):
    """What learns at a stage's ``encoder_lr``: a part that may start from ImageNet.

    Attributes:
        fresh: modules among these that do not start from ImageNet and learn at the rate of the
            other new layers, as in CKDNet's code.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fresh: list[nn.Module] = []

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """All but those of ``fresh``."""
        new = {id(p) for module in self.fresh for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in new]


def imagenet_network(backbone: str, weights: Weights) -> nn.Module:
    """A torchvision classifier by its name; what lies past its features may start from noise.

    Raises:
        UsageError: torchvision knows no such classifier or has no such weights of it, or a file
            that holds others.
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
    if weights.is_dir():
        weights = _file_for(backbone, weights)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise EnvironmentUnusable(f"{weights}: no such weight file for {backbone}") from None
    except Exception as error:
        raise UsageError(
            f"{weights}: not a PyTorch state dict; expected what torch.save wrote of a {backbone}"
        ) from error
    if not isinstance(state, dict):
        raise UsageError(f"{weights}: not a PyTorch state dict but a {type(state).__name__}")
    # torchvision's own files of DenseNets are of a time when names held another point.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    state = {old.sub(r"\1\2.", name): tensor for name, tensor in state.items()}
    wanted = {k for k in network.state_dict() if not k.startswith(("fc.", "classifier."))}
    missing = sorted(k for k in wanted - set(state) if not k.endswith("num_batches_tracked"))
    if missing:
        raise UsageError(
            f"{weights}: not {backbone} weights; {len(missing)} of {len(wanted)} tensors are "
            f"missing, the first is {missing[0]!r}"
        )
    try:
        whole = network.state_dict()  # with the version of its format, which MNASNet insists on
        whole.update((name, tensor) for name, tensor in state.items() if name in wanted)
        network.load_state_dict(whole)
    except RuntimeError as error:
        raise UsageError(f"{weights}: tensors do not fit {backbone}: {error}") from error
    return network


@cache
def _classifiers() -> tuple[str, ...]:
    return tuple(tv.list_models(module=tv))


def _file_for(backbone: str, folder: Path) -> Path:
    """Such as resnet50-0676ba61.pth for resnet50."""
    found = [path for path in sorted(folder.glob("*.pth")) if _backbone_of(path) == backbone]
    if len(found) != 1:
        held = ", ".join(path.name for path in found) or "none"
        raise EnvironmentUnusable(
            f"{folder}: expected one weight file {backbone}*.pth in it, found {held}"
        )
    return found[0]


def _backbone_of(path: Path) -> str | None:
    """The longest name that fits: vgg16_bn-6c64b313.pth is of no vgg16."""
    begins = (n for n in _classifiers() if re.match(rf"{re.escape(n)}(?![a-zA-Z0-9])", path.stem))
    return max(begins, key=len, default=None)

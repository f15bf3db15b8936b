"""torchvision's classifiers with the weights that training starts from."""

from collections.abc import Callable, Mapping
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
    "inception_v3": {"aux_logits": False, "init_weights": False},
}


def load_classifier(backbone: str, weights: Weights) -> nn.Module:
    """A torchvision classifier, by its name in `torchvision.models`.

    Raises:
        UsageError: a weight file that is not one of it.
        EnvironmentUnusable: the weights can be neither fetched nor read.
    """
    build: Callable[..., nn.Module] = getattr(tv, backbone)
    untrained = _UNTRAINED.get(backbone, {})
    if weights is None:
        return build(weights=None, **untrained)
    if weights == "imagenet":
        try:
            return build(weights="IMAGENET1K_V1")
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
    wanted = {k for k in network.state_dict() if not k.startswith(("fc.", "classifier."))}
    missing = sorted(k for k in wanted - set(state) if not k.endswith("num_batches_tracked"))
    if missing:
        raise UsageError(
            f"{weights}: not {backbone} weights; {len(missing)} of {len(wanted)} tensors are "
            f"missing, the first is {missing[0]!r}"
        )
    try:
        network.load_state_dict({k: v for k, v in state.items() if k in wanted}, strict=False)
    except RuntimeError as error:
        raise UsageError(f"{weights}: tensors do not fit {backbone}: {error}") from error
    return network


def _file_for(backbone: str, folder: Path) -> Path:
    """Such as resnet50-0676ba61.pth for resnet50."""
    found = [path for path in sorted(folder.glob("*.pth")) if path.stem.startswith(backbone)]
    # wide_resnet50_2 is no resnet50, and mobilenet_v2 no mobilenet.
    found = [p for p in found if p.stem == backbone or p.stem[len(backbone)] in "-_."]
    if len(found) != 1:
        held = ", ".join(path.name for path in found) or "none"
        raise EnvironmentUnusable(
            f"{folder}: expected one weight file {backbone}*.pth in it, found {held}"
        )
    return found[0]

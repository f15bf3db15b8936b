"""What the tests of networks share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn

from ckd.contract.labels import ISIC2017
from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.graph import System

#: Puts a module in evaluation mode, with statistics that change what it computes.
Randomise = Callable[[Any], Any]
#: Records the first input and the output of each call of a module.
Watch = Callable[[nn.Module], AbstractContextManager[list[tuple[Tensor, Tensor]]]]
#: Lets torchvision fetch this state dict; gives the list of addresses that it asks for.
Publish = Callable[[Mapping[str, Any]], list[str]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread is faster than several for sums as short as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def randomised() -> Randomise:
    return _randomised


@pytest.fixture(scope="session")
def watched() -> Watch:
    return _watched


@pytest.fixture
def published_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    addresses: list[str] = []

    def publish(state: Mapping[str, Any]) -> list[str]:
        def download(url: str, file: str, *_: Any, **__: Any) -> None:
            addresses.append(url)
            torch.save(state, file)

        monkeypatch.setattr(torch.hub, "download_url_to_file", download)
        return addresses

    return publish


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision can fetch no weights."""

    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture(scope="session")
def small() -> System:
    """A CKDNet with every seam of the published one, on ResNet18 at 64 px. Read only."""
    torch.manual_seed(1)
    shape = CkdNet(
        backbone="resnet18",
        rootseg_width=8,
        rootseg_low_width=6,
        entangle_widths=(10, 12, 14, 16),
        decoder_widths=(12, 10, 8, 6, 4),
    )
    built: System = _randomised(shape.build(ISIC2017, ("MEL", "SBK"), 64, None))
    return built.requires_grad_(False)


@pytest.fixture
def image_BHWC() -> Tensor:
    return torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)


def _randomised(module: Any) -> Any:
    """In evaluation mode, with batch normalisations and scalars that do something."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None
            assert part.running_var is not None
            part.running_mean.normal_(0, 0.2)
            part.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
    for name, parameter in module.named_parameters():
        if name.split(".")[-1] in ("mu", "delta"):
            nn.init.constant_(parameter, 0.3)
    return module.eval()


@contextmanager
def _watched(module: nn.Module) -> Iterator[list[tuple[Tensor, Tensor]]]:
    calls: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda _, given, made: calls.append((given[0], made)))
    try:
        yield calls
    finally:
        handle.remove()

"""Commands run in the test's process, and a system of a few weights that answers everything."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ckd.benchmarks.gpu import subject as gpu_subject
from ckd.benchmarks.gpu.deadline import Deadline
from ckd.benchmarks.gpu.subject import Subject
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.systems.graph import Node, System

SIDE = 32


class First(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.conv(image)
        return logits


class Second(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 4, 3, padding=1)  # INT8 leaves the first and the last in float
        self.head = nn.Linear(4, 2)

    def forward(self, image: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.inner(torch.relu(self.conv(image))))
        return self.head(x.mean((2, 3)) + coarse.mean((2, 3))), x[:, :1]


def toy(seed: int = 0) -> System:
    torch.manual_seed(seed)
    return System(
        "toy",
        (
            Node("first", First(), (IMAGE,), ("coarse_logits",)),
            Node("second", Second(), (IMAGE, "coarse_logits"), ("logits", "mask_logits")),
        ),
        ("MEL", "NEV"),
        ("MEL",),
        SIDE,
        OutputSpec("logits", "mask_logits", "coarse_logits"),
    ).eval()


@pytest.fixture(scope="session")
def toy_recipe() -> Iterator[None]:
    """The recipe ckdnet-tiny builds the toy."""

    def untrained_run(name: str, run: Path) -> None:
        run.mkdir(parents=True)
        (run / "data.json").write_text("{}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_subject, "untrained_run", untrained_run)
        patch.setattr(gpu_subject, "load_run", lambda run: (None, toy()))
        yield


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of the toy, made once for all tests."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def subject(toy_recipe: None, work: Path) -> Subject:
    return Subject("ckdnet-tiny", work, Deadline(600.0))


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Done]:
    """Runs the entry point of a command in this process, which has imported PyTorch already."""

    def run(main: Callable[[], object], *words: str | Path) -> Done:
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run

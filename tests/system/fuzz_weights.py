"""Cases of the fuzz test for what training goes on from: checkpoints, and files of weights.

Damaged bytes are found by their checksums. So others are whole files of another content, as
somebody may hand them over.
"""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from damage import Case, damaged, harms, odd_json
from safetensors.torch import save
from torch import nn

from ckd.train.fitting.stage_folder import StageFolder
from ckd.train.networks.pretrained import load_weights

#: Of a stage's one network.
_IN_CHECKPOINT = "system.networks.net."


class WeightCases:
    """The kinds, and the sound inputs that they damage."""

    def __init__(self) -> None:
        self._state = nn.Linear(4, 2).state_dict()
        self.kinds: dict[str, Case] = {"checkpoint": self.checkpoint, "weights": self.weights}

    def checkpoint(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged checkpoint, or one of odd content, from which a stage is finished."""
        state = {f"{_IN_CHECKPOINT}{name}": value for name, value in self._state.items()}
        content = self._odd_file(rng, {"epoch": 1, "state_dict": state, "loops": {"a": [1]}})
        (folder / "last.ckpt").write_bytes(content)

        def read() -> None:
            stage = StageFolder(folder)
            stage.finish(["net"], None)
            assert stage.networks().keys() <= {"net"}

        return read

    def weights(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A file of weights, of PyTorch or safetensors, that is damaged or of odd content."""
        network = nn.Linear(4, 2)
        if rng.random() < 0.5:
            path, content = folder / "net.pth", self._odd_file(rng, dict(self._state))
        else:
            path, content = folder / "net.safetensors", _odd_safetensors(rng, save(self._state))
        path.write_bytes(content)
        return lambda: load_weights(network, "net", path, set(self._state), ["net"])

    def _odd_file(self, rng: random.Random, tree: Any) -> bytes:
        is_damaged = rng.random() < 0.4
        if harms(rng) and not is_damaged:
            for _ in range(rng.randint(1, 3)):
                tree = odd_json(rng, tree)
            if rng.random() < 0.3:
                tree = _with_odd_tensor(rng, tree)
        buffer = io.BytesIO()
        torch.save(tree, buffer)
        return damaged(rng, buffer.getvalue()) if is_damaged else buffer.getvalue()


def _with_odd_tensor(rng: random.Random, tree: Any) -> Any:
    """A tree in which one tensor is of another shape or kind."""
    odd = (
        torch.ones(2, 4, dtype=torch.complex64), torch.ones(2, 4, dtype=torch.int8),
        torch.ones(2, 4).to_sparse(), torch.ones(2, 4, device="meta"), torch.ones(0),
        torch.ones(2, 4, dtype=torch.float8_e4m3fn), torch.ones(1, 1).expand(2, 4),
        torch.ones(()), torch.full((2, 4), torch.nan), nn.Parameter(torch.ones(2, 4)),
    )  # fmt: skip
    if isinstance(tree, torch.Tensor):
        return rng.choice(odd)
    if isinstance(tree, dict) and tree:
        key = rng.choice(sorted(tree))
        return {**tree, key: _with_odd_tensor(rng, tree[key])}
    return tree


def _odd_safetensors(rng: random.Random, content: bytes) -> bytes:
    """A damaged file, or one whose header has odd values; it begins with the header's length."""
    if rng.random() < 0.4:
        return damaged(rng, content)
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(odd_json(rng, json.loads(content[8:end]))).encode()
    return len(header).to_bytes(8, "little") + header + content[end:]

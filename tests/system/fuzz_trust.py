"""Cases of the fuzz test for what decides what a device runs: networks, signatures, caches, units.

Each kind makes its input of a sound one, and gives what reads it.
"""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from damage import damaged, odd_text
from long_run import BUNDLE

from ckd.contract.bundle import Bundle
from ckd.contract.hashes import HASHES, SIGNATURE, write_hashes
from ckd.export.release import sign_embedded
from ckd.runtime.acceptance import CASES, golden_images
from ckd.runtime.cache import Store
from ckd.runtime.signed import Trust
from ckd.runtime.unit import read_unit
from ckd.train.fitting.whole_checkpoint import is_whole

UNIT = """name = "Handle"
source = "usb:2ce3:9563:0042"
polarised = true
[camera]
width_px = 1920
height_px = 1080
format = "MJPG"
exposure_ms = 12.5
[picture]
field_px = [960, 540, 1000]
rotate_deg = 90
mm_per_px = 0.0125
[colour]
matrix = [[1.1, -0.05, 0.0], [0.0, 1.2, 0.0], [0, 0, 1]]
[[button]]
key = "KEY_CAMERA"
[coach]
focus = -5.2
"""
#: Makes the input of one case in an empty folder, and gives what reads it.
Case = Callable[[random.Random, Path], Callable[[], object]]


class TrustCases:
    """The kinds, and the sound inputs that they damage."""

    def __init__(self, folder: Path) -> None:
        signed = folder / "signed"
        shutil.copytree(BUNDLE, signed)
        sign_embedded(signed, None)
        self._trust = Trust([folder / "release.pub"])
        bundle = Bundle(signed)
        self._signature = (signed / SIGNATURE).read_bytes()
        self._digests = {name: record.sha256 for name, record in bundle.files.items()}
        self._digests[HASHES] = bundle.digest()
        checkpoint = folder / "sound.ckpt"
        torch.save(
            {"epoch": 1, "state_dict": {"w": torch.ones(20)}, "loops": {"a": [1]}}, checkpoint
        )
        self._checkpoint = checkpoint.read_bytes()
        self.kinds: dict[str, Case] = {
            "network": self.network,
            "acceptance": self.acceptance,
            "signature": self.signature,
            "unit": self.unit,
            "cache": self.cache,
            "checkpoint": self.checkpoint,
        }

    def network(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged network of a bundle whose list was made anew, as an attacker makes it."""
        return self._rehashed(rng, folder, "cls.fp32.onnx", lambda bundle: bundle.verify())

    def acceptance(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Damaged acceptance cases, likewise."""
        return self._rehashed(rng, folder, CASES, golden_images)

    def signature(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged signature, or one over other files."""
        content, digests = self._signature, self._digests
        if rng.random() < 0.1:
            digests = {**digests, rng.choice(sorted(digests)): "0" * 64}
        else:
            content = damaged(rng, content)
        (folder / SIGNATURE).write_bytes(content)
        return lambda: self._trust(content, digests)

    def unit(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A unit file with odd values, or damaged bytes."""
        path, text = folder / "unit.toml", UNIT
        if rng.random() < 0.5:
            path.write_bytes(odd_text(rng, text).encode("utf-8", "replace"))
        else:
            path.write_bytes(damaged(rng, text.encode()))
        return lambda: read_unit(path)

    def cache(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged record of what was measured here, which counts as absent."""
        store, key = Store(folder / "records"), {"bundle": "a", "threads": 2}
        store.write(key, {"onnxruntime": 20.5, "openvino": 12.25})
        path = store.path(key)
        path.write_bytes(damaged(rng, path.read_bytes()))
        return lambda: store.read(key)

    def checkpoint(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """A damaged checkpoint, which is whole or not."""
        path = folder / "last.ckpt"
        path.write_bytes(damaged(rng, self._checkpoint))
        return lambda: is_whole(path)

    def _rehashed(
        self, rng: random.Random, folder: Path, name: str, read: Callable[[Bundle], object]
    ) -> Callable[[], object]:
        bundle = folder / "bundle"
        shutil.copytree(BUNDLE, bundle)
        path = bundle / name
        path.write_bytes(damaged(rng, path.read_bytes()))
        write_hashes(bundle)
        return lambda: read(Bundle(bundle))

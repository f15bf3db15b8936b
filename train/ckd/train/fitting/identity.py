"""Digests by which a run recognises its images, its starting weights and what a stage rests on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckd.contract.errors import UsageError
from ckd.data.samples import SampleSet
from ckd.train.networks.pretrained import Weights, weight_files


def describe(train_set: SampleSet, weights: Weights) -> dict[str, Any]:
    """What `data.json` of a run says of the training images and the starting weights."""
    return {
        "name": train_set.name,
        "labels": list(train_set.labels),
        "num_train": len(train_set),
        "class_counts": list(train_set.class_counts()),
        "digest": digest(train_set),
        "weights": identity(weights),
    }


def identity(weights: Weights) -> str:
    """Identity of starting weights; files are identified by their content, wherever they lie.

    Of a folder every file counts that could be read. Files named .pth directly in it are listed
    without their names, as they were when there were no others, so that older runs go on.

    Raises:
        UsageError: a file cannot be read.
    """
    if not isinstance(weights, Path):
        return weights or "none"
    try:
        if not weights.is_dir():
            return f"sha256 {_sha256(weights)}"
        files = weight_files(weights)
        plain = [file for file in files if file.parent == weights and file.suffix == ".pth"]
        named = [file for file in files if file not in plain]
        digests = [
            *map(_sha256, plain),
            *(f"{file.relative_to(weights).as_posix()} {_sha256(file)}" for file in named),
        ]
        return f"sha256 {' '.join(digests)}"
    except OSError as error:
        raise UsageError(f"{weights}: cannot be read ({error.strerror})") from error


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def ground_of(
    upstream: str, val_digest: str | None, members: Mapping[str, str] | None = None
) -> str:
    """What a stage rests on, as text for a file.

    Args:
        upstream: digest of all networks that earlier stages trained and this one does not.
        val_digest: of the images that choose its best epoch, None if it keeps its last one.
        members: digests of the weights of earlier stages that it starts from, learns from or
            averages, by name.
    """
    lines = [upstream, val_digest if val_digest is not None else "last epoch"]
    lines += [f"{name} {digest}" for name, digest in (members or {}).items()]
    return "".join(f"{line}\n" for line in lines)


def digest(samples: SampleSet) -> str:
    """Identity of a data set: names, labels, sizes of image files, and content of masks.

    Images go by their size because reading all of them takes long.
    """
    sha = hashlib.sha256()
    for sample in samples.samples:
        sha.update(f"{sample.id} {sample.label} {sample.image.stat().st_size}\n".encode())
        if sample.mask is not None:
            sha.update(hashlib.sha256(sample.mask.read_bytes()).digest())
    return sha.hexdigest()

"""The header of a run: with what its answers were computed, so that they can be computed again."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from typing import Any, Final

import cv2
import numpy as np

from ckd.contract.errors import InputError
from ckd.contract.version import built_from, ckd_version
from ckd.runtime.cascade import Cascade
from ckd.runtime.chain import Chain
from ckd.runtime.cpu import cpu_name
from ckd.runtime.engine import BuiltEngine, EngineBuilder
from ckd.runtime.journal import foreign
from ckd.runtime.journal.layout import SCHEMA

#: Engines whose versions decide what the last bits of an answer are.
_ENGINES: Final = (
    "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13-bindings",
)  # fmt: skip
_MOST_THREADS: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """With what a run was recorded.

    Attributes:
        bundle_id: name and first digits of the digest of the bundle.
        digest: of the bundle, a SHA-256.
        bundle_path: where it lay; None for the one that comes with `ckd`, and in archives.
        backend: that ran the networks.
        device: "cpu", or "cuda:0" and so on.
        precision: that they computed in.
        threads: of an engine on the CPU; None on a GPU.
        versions: of all that has a part in the answers: software, the "processor", and where
            engines are built on the machine, its GPU and what they are.
        operating_point: that was asked for; None for the bundle's default.
        prevalence: that was asked for; empty for the bundle's.
        every_tensor: the hash of every tensor of the graph was recorded.
        started: date and time in UTC.
        content: everything as it stands in the file, unknown keys included.
    """

    bundle_id: str
    digest: str
    bundle_path: str | None
    backend: str
    device: str
    precision: str
    threads: int | None
    versions: Mapping[str, str]
    operating_point: str | None
    prevalence: Mapping[str, float]
    every_tensor: bool
    started: str
    content: Mapping[str, Any] = field(default_factory=dict)

    def changed_versions(self, cascade: Cascade) -> list[str]:
        """What is of another version now than it was then, as "numpy 2.1.0, here 2.2.0"."""
        here = versions(cascade)
        return [
            f"{name} {then}, here {here.get(name, 'none')}"
            for name, then in self.versions.items()
            if then != here.get(name, "none")
        ]


def header_of(
    cascade: Cascade,
    *,
    bundle_path: str | None,
    source: str,
    operating_point: str | None,
    prevalence: Mapping[str, float],
    every_tensor: bool,
) -> bytes:
    """The content of a header, for a cascade as it is loaded; arguments as `Header`'s.

    ``source`` is the label of the camera or file (`FrameSource.label`).
    """
    content = {
        "schema": SCHEMA,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "source": source,
        "bundle": {
            "id": cascade.bundle_id, "digest": cascade.bundle_digest, "path": bundle_path
        },
        "backend": cascade.backend.name,
        "device": cascade.backend.device,
        "precision": cascade.precision,
        "threads": getattr(cascade.backend, "num_threads", None),
        "versions": versions(cascade),
        "operating_point": operating_point,
        "prevalence": dict(prevalence),
        "tensors": every_tensor,
    }  # fmt: skip
    return (json.dumps(content, indent=2) + "\n").encode()


def read_header(where: str, content: bytes) -> Header:
    """The header in the bytes of a file; ``where`` is for messages.

    Raises:
        InputError: it is damaged, or of a version of `ckd` that is newer than this one.
    """
    try:
        record = foreign.object_of(content)
        if foreign.whole(record, "schema", 1) > SCHEMA:
            raise InputError(
                f"{where}: a journal of schema {record['schema']}, and this ckd reads schema "
                f"{SCHEMA}; replay it with a newer ckd"
            )
        bundle, shares = foreign.table(record, "bundle"), foreign.table(record, "prevalence")
        return Header(
            bundle_id=foreign.text(bundle, "id"),
            digest=foreign.text(bundle, "digest"),
            bundle_path=foreign.optional_text(bundle, "path"),
            backend=foreign.text(record, "backend"),
            device=foreign.text(record, "device"),
            precision=foreign.text(record, "precision"),
            threads=(
                None
                if record.get("threads") is None
                else foreign.whole(record, "threads", 1, _MOST_THREADS)
            ),
            versions=foreign.texts(record, "versions"),
            operating_point=foreign.optional_text(record, "operating_point"),
            prevalence={name: foreign.number(shares, name) for name in shares},
            every_tensor=bool(foreign.flag(record, "tensors")),
            started=foreign.text(record, "started"),
            content=record,
        )
    except ValueError as error:
        raise InputError(f"{where}: the header of a journal is damaged ({error})") from None


def versions(cascade: Cascade) -> dict[str, str]:
    """Of all that has a part in the answers of a cascade on this machine, see `Header`."""
    known = {
        "ckd": ckd_version(), "python": platform.python_version(), "numpy": np.__version__,
        "opencv": cv2.__version__, "processor": cpu_name(),
    }  # fmt: skip
    if commit := built_from():
        known["ckd_commit"] = commit
    for name in _ENGINES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known | _built_here(cascade.chain)


def _built_here(chain: Chain) -> dict[str, str]:
    """GPU and engines, where the backend builds them: each build may give other last bits."""
    if not isinstance(chain.backend, EngineBuilder):
        return {}
    facts = {name: str(value) for name, value in chain.backend.machine.items()}
    facts.pop("tensorrt", None)  # which has its version already
    for node, engine in chain.engines.items():
        if isinstance(engine, BuiltEngine):
            facts[f"engine {node}"] = engine.sha256[:16]
    return facts

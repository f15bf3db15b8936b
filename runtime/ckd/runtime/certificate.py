"""The certificates of engines that were built on this machine, as they are kept.

A certificate says how the engines of a cascade did when they proved themselves
(`ckd.runtime.proving`). It lies beside them in the cache and is valid for exactly these files, this
bundle and this machine: device, driver, versions; for engines of a CPU also its instruction sets,
threads and hints.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from ckd.contract.bundle import Bundle
from ckd.runtime.cache import Record, Store
from ckd.runtime.engine_cache import EngineCache

SUFFIX: Final = ".certificate.json"
#: Number of certificates that are kept; the oldest are removed, and their engines prove themselves
#: again.
MOST_KEPT: Final = 64
#: How far two answers of an engine to one image may lie apart, in standard deviations. OpenVINO
#: repeats them to the bit; half precision that adds in another order moves them by thousandths.
STEADY: Final = 0.02

#: The fields of a certificate that are its key in the store; the others are the value.
_KEY: Final = ("bundle", "bundle_sha256", "precision", "machine", "engines")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """How the engines of a cascade did in the acceptance cases of their bundle.

    Attributes:
        bundle: name and start of the digest.
        bundle_sha256: digest.
        precision: the engines compute in it.
        machine: device, driver, versions and settings, as the backend names them.
        engines: SHA-256 of the engine of every network.
        num_cases: acceptance cases that were run.
        num_failed: cases whose outputs differ too much from the recorded ones.
        tensor_errors: of each output, the largest difference from the recorded tensor, in standard
            deviations of that; None where an output was not finite.
        edge_errors: likewise of every tensor between the networks, compared with what ONNX Runtime
            computes from the float32 files on the CPU; empty where that is not installed. They
            show where a difference began, and do not count for `passed`.
        repeat_errors: of each output, the largest difference between two answers to one image, in
            standard deviations of the first; None where one was not finite.
        mask_jaccard: smallest of all masks, at network size; None where there is no mask.
        mask_dice: likewise.
        probability_shift: largest of any class; None where there is no diagnosis.
        decision_flips: diagnoses that changed, see `CaseResult`.
        made: date and time.
        ckd: version of this software.
    """

    bundle: str
    bundle_sha256: str
    precision: str
    machine: Mapping[str, str | int]
    engines: Mapping[str, str]
    num_cases: int
    num_failed: int
    tensor_errors: Mapping[str, float | None]
    edge_errors: Mapping[str, float | None]
    repeat_errors: Mapping[str, float | None]
    mask_jaccard: float | None
    mask_dice: float | None
    probability_shift: float | None
    decision_flips: int
    made: str
    ckd: str

    @property
    def passed(self) -> bool:
        """True if there were cases, none failed, and the same image had the same answer again."""
        return self.num_cases > 0 and self.num_failed == 0 and self.is_steady

    @property
    def is_steady(self) -> bool:
        """True if the same image had the same answer again."""
        errors = self.repeat_errors.values()
        return bool(errors) and all(error is not None and error <= STEADY for error in errors)

    def as_dict(self) -> dict[str, Any]:
        """By name, ready for JSON."""
        return {**asdict(self), "passed": self.passed}


def certificates(bundle: Bundle) -> list[Certificate]:
    """All certificates of a bundle on this machine, the newest first."""
    known = map(_parsed, _store().records())
    ours = [one for one in known if one is not None and one.bundle_sha256 == bundle.digest()]
    return sorted(ours, key=lambda one: one.made, reverse=True)


def has_proved(sha256: str, network: str, precision: str, machine: Mapping[str, str | int]) -> bool:
    """Whether a kept engine may be loaded: it passed on this machine, and never failed.

    Args:
        sha256: of its file.
        network: name of its node.
        precision: it computes in it.
        machine: as the backend names it.
    """
    known = [
        one.passed
        for one in map(_parsed, _store().records())
        if one is not None
        and one.engines.get(network) == sha256
        and (one.precision, dict(one.machine)) == (precision, dict(machine))
    ]
    return bool(known) and all(known)


def prune_certificates() -> None:
    """Remove the certificates of engines that are no longer in the cache."""
    kept, store = {entry.sha256 for entry in EngineCache().entries()}, _store()
    for path in store.paths():
        record = store.record(path)
        certificate = None if record is None else _parsed(record)
        if certificate is None or not kept.issuperset(certificate.engines.values()):
            path.unlink(missing_ok=True)


def write_certificate(certificate: Certificate) -> None:
    """Keep a certificate, if the cache can be written."""
    content = certificate.as_dict()
    key = {name: content.pop(name) for name in _KEY}
    _store().write(key, content)


def read_certificate(key: Mapping[str, Any]) -> Certificate | None:
    """The certificate for just these facts; None if there is none, or a damaged one."""
    store = _store()
    record = store.record(store.path(key))
    return None if record is None or record.key != key else _parsed(record)


def _store() -> Store:
    return Store(EngineCache().folder, SUFFIX, MOST_KEPT)


def _parsed(record: Record) -> Certificate | None:
    """None if a record is not of this version of the software, or its parts contradict."""
    try:
        fields = {**record.key, **record.value}
        passed = fields.pop("passed")
        certificate = Certificate(**fields)
        return certificate if certificate.passed is passed and _has_types(certificate) else None
    except (TypeError, AttributeError, KeyError):
        return None


def _has_types(certificate: Certificate) -> bool:
    """True if every field has its type: a record of another version may hold anything."""
    c = certificate
    texts = (c.bundle, c.bundle_sha256, c.precision, c.made, c.ckd)
    errors = (*c.tensor_errors.values(), *c.edge_errors.values(), *c.repeat_errors.values())
    shares = (c.mask_jaccard, c.mask_dice, c.probability_shift)
    counts = (c.num_cases, c.num_failed, c.decision_flips)
    return (
        isinstance(c.machine, dict)
        and all(isinstance(text, str) for text in (*texts, *c.engines.values()))
        and all(value is None or isinstance(value, int | float) for value in (*errors, *shares))
        and all(isinstance(count, int) for count in counts)
    )

"""A recorded run, computed again: the same answers to the bit, or where they first differ."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ckd.contract.errors import BundleError, InputError, UsageError
from ckd.finding.finder import NotFinite
from ckd.finding.finding import Finding
from ckd.runtime.cascade import Cascade
from ckd.runtime.cpu import usable_cores
from ckd.runtime.inputs import Analysed, Listener
from ckd.runtime.journal import foreign
from ckd.runtime.journal.differences import Difference, difference
from ckd.runtime.journal.header import Header
from ckd.runtime.journal.reading import Segment, StoredRun
from ckd.runtime.journal.stored import StoredFrame
from ckd.runtime.signed import embedded_bundle, open_bundle

#: Threads of an engine wait for each other: a thousand on two cores do not end.
_MOST_THREADS_PER_CORE: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """With what to replay; None for what was recorded."""

    backend: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """One frame, computed again.

    ``finding`` is None if a network gave no finite numbers, and ``difference`` if every recorded
    bit is the same, or nothing was compared because the bundle is another one.
    """

    stored: StoredFrame
    finding: Finding | None
    difference: Difference | None


@dataclass(slots=True)
class Missing:
    """What a run lacks, as it is read; ``damaged`` holds a line for each segment or frame."""

    damaged: list[str] = field(default_factory=list)
    num_frames: int = 0
    _next: int | None = None

    def count(self, number: int) -> None:
        """Take note of the next frame's number."""
        if self._next is not None:
            self.num_frames += max(0, number - self._next)
        self._next = number + 1


def bundle_for(header: Header, asked: Path | None) -> Path | None:
    """The bundle to replay with: the one that is asked for, or else that of the run.

    None stands for the one that comes with `ckd`.

    Raises:
        UsageError: the run's own bundle is not on this machine.
    """
    if asked is not None:
        return asked
    for path in (header.bundle_path, None):
        try:
            place = embedded_bundle() if path is None else Path(path)
            if open_bundle(place).digest() == header.digest:
                return None if path is None else place
        except (BundleError, OSError):
            continue
    raise UsageError(
        f"the run was recorded with the bundle {header.bundle_id}, which is not "
        f"{'at ' + header.bundle_path if header.bundle_path else 'here'}; name it by --bundle"
    )


def load_for(header: Header, bundle: Path | None, machine: Machine) -> Cascade:
    """A cascade as the run had it, but for what is asked for.

    Raises:
        UsageError: it was recorded with more threads than this machine can work with.
        CkdError: as `Cascade.load`.
    """
    threads, num_cores = machine.threads or header.threads, usable_cores()
    if threads is not None and threads > _MOST_THREADS_PER_CORE * num_cores:
        raise UsageError(
            f"the run has {threads} threads, too many for the {num_cores} cores here; choose a "
            "number, by --threads N"
        )
    backend = machine.backend or header.backend
    device = machine.device or (header.device if machine.backend is None else "auto")
    return Cascade.load(
        bundle, backend, device, machine.precision or header.precision,
        threads, header.operating_point, dict(header.prevalence),
    )  # fmt: skip


def replay_run(
    run: StoredRun,
    cascade: Cascade,
    missing: Missing,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Replayed]:
    """Compute every frame of a run again, and compare it where the bundle is the same.

    Args:
        run: to replay.
        cascade: loaded by `load_for`.
        missing: is told which segments are damaged and how many frames are not there.
        told: how many segments are done, and of how many.

    Raises:
        InputError: the bundle takes inputs of another size, and there is no photograph.
        EngineError: an engine failed.
    """
    is_same = cascade.bundle_digest == run.header.digest
    every_tensor = is_same and run.header.every_tensor
    heard: list[Analysed] = []

    def hear(analysed: Analysed) -> None:
        heard[:] = [analysed]

    cascade.listener = Listener(hear, every_tensor=every_tensor)
    try:
        for done, segment in enumerate(run.segments(), start=1):
            if isinstance(segment, InputError):
                missing.damaged.append(str(segment))
            else:
                yield from _segment(segment, cascade, heard, missing, is_same)
            told(done, len(run.names))
    finally:
        cascade.listener = None


def _segment(
    segment: Segment, cascade: Cascade, heard: list[Analysed], missing: Missing, is_same: bool
) -> Iterator[Replayed]:
    for stored in segment.frames:
        missing.count(stored.number)
        try:
            stored.check_photograph()
            finding = _finding(cascade, stored, is_same=is_same)
            found = difference(cascade.chain, stored, heard[0], finding) if is_same else None
        except ValueError as error:
            missing.damaged.append(
                f"{segment.name}: frame {stored.number} is damaged ({foreign.said(error)})"
            )
            continue
        yield Replayed(stored, finding, found)


def _cut_short(cascade: Cascade, stored: StoredFrame) -> Finding:
    """The finding without the parts that a deadline left no time for when it was recorded."""
    seen_SS3 = stored.input(cascade.spec.image_size)
    try:
        return cascade.analyse_input(seen_SS3, stored.size_hw, stored.left_out)
    except UsageError as error:
        raise ValueError(f"left_out: {error}") from error


def _finding(cascade: Cascade, stored: StoredFrame, *, is_same: bool) -> Finding | None:
    """The finding of what the networks saw, or of the photograph where those of now see more."""
    side = cascade.spec.image_size
    try:
        if is_same:
            return _cut_short(cascade, stored)
        if side == stored.side:
            return cascade.analyse_input(stored.input(side), stored.size_hw)
        photograph_HWC = stored.picture()
        if photograph_HWC is None:
            raise InputError(
                f"the networks of this bundle see {side}x{side} pixels, and those of the journal "
                f"saw {stored.side}; that takes photographs, which are not in this archive"
            )
        return cascade.predict(photograph_HWC)
    except NotFinite:
        return None

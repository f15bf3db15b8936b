"""`ckd-run replay`, and the options by which `camera` and `video` keep a journal."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from ckd import console
from ckd.console.options import MOST_THREADS, Json, bytes_of
from ckd.contract.errors import GateFailed, InputError, UsageError
from ckd.contract.version import ckd_version

if TYPE_CHECKING:
    from ckd.runtime.cascade import Cascade
    from ckd.runtime.journal import Journal, Machine, Outcome, StoredRun
    from ckd.runtime.sources import FrameSource

JournalFolder = Annotated[
    Path | None,
    typer.Option(
        "--journal",
        metavar="DIR",
        help="Record what `ckd-run replay` computes again, in a folder of its own below DIR.",
    ),
]
JournalSize = Annotated[
    str,
    typer.Option(
        metavar="SIZE",
        help="What all runs below --journal may take, as in 500MB; the oldest seconds go first.",
    ),
]
JournalTensors = Annotated[
    bool,
    typer.Option(
        "--journal-tensors",
        help="Also record the hash of every tensor between the networks, so that a replay names "
        "the first that differs. On a GPU each is copied to the host for every frame.",
    ),
]
#: What all runs may take, unless told otherwise.
DEFAULT_SIZE: Final = "2GB"
_LEAST_BYTES: Final = 10**6
#: Rows of changed decisions that a terminal shows.
_MOST_ROWS: Final = 200


@dataclass(slots=True)
class JournalChoice:
    """What the options of a journal ask for, checked before anything is opened.

    Raises:
        UsageError: the size is none, or an option makes no sense without a journal.
    """

    folder: Path | None
    size: str
    every_tensor: bool
    min_free_bytes: int
    _limit: int = field(default=0, init=False)
    _journal: "Journal | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._limit = bytes_of("--journal-size", self.size)
        if self._limit < _LEAST_BYTES:
            raise UsageError(f"--journal-size {self.size}: expected at least 1MB")
        if self.every_tensor and self.folder is None:
            raise UsageError("--journal-tensors: name the folder of the journal, by --journal DIR")

    @contextmanager
    def open(
        self,
        cascade: "Cascade",
        source: "FrameSource",
        bundle: Path | None,
        operating_point: str | None,
        prevalence: Mapping[str, float],
        *,
        waits: bool = False,
    ) -> Iterator["Journal | None"]:
        """A journal within a ``with`` block, at whose end it is said what was recorded.

        Arguments as of `Journal`; it is None where none is asked for.
        """
        from ckd.runtime.journal import Journal

        if self.folder is None:
            yield None
            return
        with Journal(
            self.folder, cascade, source, limit=self._limit,
            min_free_bytes=self.min_free_bytes, bundle_path=bundle,
            operating_point=operating_point, prevalence=prevalence,
            every_tensor=self.every_tensor, waits=waits, say=console.say,
        ) as journal:  # fmt: skip
            self._journal = journal
            try:
                yield journal
            finally:
                self._journal = None
                journal.close()
                console.say(journal.summary)

    def key(self, view: str, key: str) -> None:
        """Record a key or button, if a journal is open; from any thread."""
        if (journal := self._journal) is not None:
            journal.key(view, key)


def replay_command(
    journal: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A journal (its latest run), one run, an archive."),
    ],
    bundle: Annotated[
        Path | None,
        typer.Option(help="Another one: list the decisions that it changes. Default: the run's."),
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Default: the run's.")] = None,
    device: Annotated[str | None, typer.Option(help="Default: the run's.")] = None,
    precision: Annotated[str | None, typer.Option(help="Default: the run's.")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, max=MOST_THREADS, help="Default: the run's.")
    ] = None,
    pack: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Compute nothing; write one archive to report a bug."),
    ] = None,
    photographs: Annotated[
        bool, typer.Option("--photographs", help="With --pack: with the photographs too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compute a recorded run again: the same answers to the bit, or where they differ (code 4).

    With another bundle: the decisions that it changes (code 4 if there are any).
    """
    from ckd.runtime.journal import Machine, open_run

    if photographs and pack is None:
        raise UsageError("--photographs: name the archive that they go into, by --pack FILE")
    run = open_run(journal)
    if run.note:
        console.say(f"note: {run.note}")
    machine = Machine(backend=backend, device=device, precision=precision, threads=threads)
    if pack is not None:
        if as_json or bundle is not None or machine != Machine():
            raise UsageError("--pack computes nothing: leave out the options of a replay")
        _pack(run, pack, photographs=photographs)
        return
    _replay(run, bundle, machine, as_json=as_json)


def _pack(run: "StoredRun", out: Path, *, photographs: bool) -> None:
    from ckd.runtime.journal import pack_run

    damaged = pack_run(run, out, photographs=photographs, told=console.progress_bar("segments"))
    for line in damaged:
        console.say(f"error: {line}")
    content = "with" if photographs else "without"
    console.say(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, {content} photographs; it holds what the "
        "networks saw of the skin, so send it only to whom you would send a photograph"
    )
    if damaged:
        raise InputError(f"{len(damaged)} of {len(run.names)} segments were left out, see above")


def _replay(run: "StoredRun", bundle: Path | None, machine: "Machine", *, as_json: bool) -> None:
    from ckd.runtime.journal import Missing, Outcome, bundle_for, line_of, load_for, replay_run

    header, outcome, missing = run.header, Outcome(), Missing()
    with load_for(header, bundle_for(header, bundle), machine) as cascade:
        is_same = cascade.bundle_digest == header.digest
        console.say(
            f"{run.name}: recorded {header.started} with {header.bundle_id}, {header.backend} on "
            f"{header.device} in {header.precision}; replayed with {cascade.bundle_id}, "
            f"{cascade.backend.name} on {cascade.backend.device} in {cascade.precision}, "
            f"ckd {ckd_version()}"
        )
        for version in header.changed_versions(cascade):
            console.say(f"note: {version}")
        told = console.progress_bar("segments")
        for one in replay_run(run, cascade, missing, told):
            changed = outcome.add(one)
            if as_json:
                print(json.dumps(line_of(run.name, one, changed), allow_nan=False), flush=True)
    for line in missing.damaged:
        console.say(f"error: {line}")
    if not as_json:
        _print_outcome(outcome)
    if missing.num_frames:
        console.say(f"note: {missing.num_frames} frames between the first and last are not there")
    _end(outcome, missing.damaged, is_same=is_same)


def _print_outcome(outcome: "Outcome") -> None:
    if rows := outcome.output_rows():
        head = ("output", "frames that differ", "largest difference")
        console.print_table(head, rows, numbers=head[1:])
    if outcome.changes:
        cells = [one.row for one in outcome.changes]
        console.print_table(("frames", "label", "decision", "referral"), cells[:_MOST_ROWS])
        if len(cells) > _MOST_ROWS:
            console.say(f"note: {len(cells) - _MOST_ROWS} more rows; --json prints every frame")


def _end(outcome: "Outcome", damaged: list[str], *, is_same: bool) -> None:
    """Say what it came to; an error gives the command its exit code."""
    num_frames = outcome.num_frames
    if is_same and outcome.first is not None:
        raise GateFailed(
            f"{outcome.first.shown}; {outcome.num_different} of {num_frames} frames differ, and "
            f"the decision of {outcome.num_changed}"
        )
    if not is_same and outcome.num_changed:
        raise GateFailed(f"the bundle decides otherwise: {outcome.summary}")
    if damaged:
        raise InputError(
            f"{len(damaged)} segments or frames are damaged, see above; the other {num_frames} "
            f"frames {'are' if is_same else 'decide'} the same"
        )
    if not num_frames:
        raise InputError("the run holds no frame: the source gave none, or all are gone")
    what = "every recorded bit" if is_same else "every decision"
    console.say(f"{num_frames} frames replayed: {what} is the same")

"""The black box: what a run of a cascade saw and said, on disk, and computed again to the bit.

Journal     records a run, from its construction until `close`
open_run    a recorded run, from a folder or an archive
replay_run  computes every frame of a run again
pack_run    makes one archive of a run

`docs/journal.md` describes what is written, field by field.
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.journal.changes import Outcome, line_of
    from ckd.runtime.journal.journal import Journal
    from ckd.runtime.journal.pack import pack_run
    from ckd.runtime.journal.reading import StoredRun, open_run
    from ckd.runtime.journal.replay import Machine, Missing, bundle_for, load_for, replay_run
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.journal.changes": "Outcome line_of",
            "ckd.runtime.journal.journal": "Journal",
            "ckd.runtime.journal.pack": "pack_run",
            "ckd.runtime.journal.reading": "StoredRun open_run",
            "ckd.runtime.journal.replay": "Machine Missing bundle_for load_for replay_run",
        },
    )

__all__ = [
    "Journal",
    "Machine",
    "Missing",
    "Outcome",
    "StoredRun",
    "bundle_for",
    "line_of",
    "load_for",
    "open_run",
    "pack_run",
    "replay_run",
]

"""Where findings go: files for people, CSV and JSON lines for programs, and videos.

ResultFolder       a folder with pictures, JSON and CSV
Recorder           drawings as a video file
Drawn              a drawing, made and encoded once if somebody needs it
RecordingState     how a recording stands
check_recordable   whether a recording can be made here
print_finding      one line on stdout
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.sinks.drawn import Drawn
    from ckd.runtime.sinks.files import Failure, NotWritten, ResultFolder
    from ckd.runtime.sinks.free_space import MIN_FREE_BYTES, FreeSpace
    from ckd.runtime.sinks.lines import print_finding
    from ckd.runtime.sinks.recorder import Recorder, check_recordable
    from ckd.runtime.sinks.recording_state import RecordingState
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.sinks.drawn": "Drawn",
            "ckd.runtime.sinks.files": "Failure NotWritten ResultFolder",
            "ckd.runtime.sinks.free_space": "MIN_FREE_BYTES FreeSpace",
            "ckd.runtime.sinks.lines": "print_finding",
            "ckd.runtime.sinks.recorder": "Recorder check_recordable",
            "ckd.runtime.sinks.recording_state": "RecordingState",
        },
    )

__all__ = [
    "MIN_FREE_BYTES",
    "Drawn",
    "Failure",
    "FreeSpace",
    "NotWritten",
    "Recorder",
    "RecordingState",
    "ResultFolder",
    "check_recordable",
    "print_finding",
]

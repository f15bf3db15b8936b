"""Where findings go: files for people, CSV and JSON lines for programs, and videos.

ResultFolder    a folder with pictures, JSON and CSV
Recorder        drawn frames as a video file
print_finding   one line on stdout
"""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.runtime.sinks.files import Failure, NotWritten, ResultFolder
    from ckd.runtime.sinks.lines import print_finding
    from ckd.runtime.sinks.recorder import Recorder
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.runtime.sinks.files": "Failure NotWritten ResultFolder",
            "ckd.runtime.sinks.lines": "print_finding",
            "ckd.runtime.sinks.recorder": "Recorder",
        },
    )

__all__ = ["Failure", "NotWritten", "Recorder", "ResultFolder", "print_finding"]

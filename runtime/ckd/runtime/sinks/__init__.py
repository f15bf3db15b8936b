"""Where findings go: files for people, CSV and JSON lines for programs, and videos.

ResultFolder    a folder with pictures, JSON and CSV
Recorder        drawn frames as a video file
print_finding   one line on stdout
"""

from ckd.runtime.sinks.files import ResultFolder
from ckd.runtime.sinks.lines import print_finding
from ckd.runtime.sinks.recorder import Recorder

__all__ = ["Recorder", "ResultFolder", "print_finding"]

"""Writes a latency report: JSON for programs, tables and a picture for people."""

from pathlib import Path

from ckd.benchmarks.report import LatencyReport
from ckd.contract.whole_file import replace_file


def write_report(report: LatencyReport, folder: Path) -> list[str]:
    """Write ``latency.json``, ``latency.md`` and, with matplotlib installed, ``latency.png``.

    Returns:
        Names of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "latency.json", report.to_json().encode())
    replace_file(folder / "latency.md", report.to_markdown().encode())
    written = ["latency.json", "latency.md"]
    try:
        from ckd.benchmarks.picture import write_picture
    except ImportError:
        return written
    write_picture(report, folder / "latency.png")
    return [*written, "latency.png"]

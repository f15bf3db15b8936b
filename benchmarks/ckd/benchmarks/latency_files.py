"""Writes a latency report: JSON for programs, tables and a picture for people."""

from pathlib import Path

from ckd.benchmarks.report import LatencyReport


def write_report(report: LatencyReport, folder: Path) -> list[str]:
    """Write ``latency.json``, ``latency.md`` and, with matplotlib installed, ``latency.png``.

    Returns:
        Names of the files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latency.json").write_text(report.to_json(), encoding="utf-8")
    (folder / "latency.md").write_text(report.to_markdown(), encoding="utf-8")
    written = ["latency.json", "latency.md"]
    try:
        from ckd.benchmarks.picture import write_picture
    except ImportError:
        return written
    write_picture(report, folder / "latency.png")
    return [*written, "latency.png"]

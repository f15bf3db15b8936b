"""Writes a report of a GPU: JSON for programs, tables and a picture for people."""

from pathlib import Path

from ckd.benchmarks.gpu.report import GpuReport
from ckd.contract.whole_file import replace_file


def write_gpu_report(report: GpuReport, results: Path) -> list[str]:
    """Write ``gpu.json``, ``gpu.md`` and, with matplotlib installed, ``gpu.png``.

    Args:
        report: to be written.
        results: in a folder of this one, named after the device and the date.

    Returns:
        The files written, below ``results``.
    """
    folder = results / report.folder_name
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "gpu.json", report.to_json().encode())
    replace_file(folder / "gpu.md", report.to_markdown().encode())
    written = ["gpu.json", "gpu.md"]
    try:
        from ckd.benchmarks.gpu.picture import write_gpu_picture
    except ImportError:
        pass
    else:
        write_gpu_picture(report, folder / "gpu.png")
        written.append("gpu.png")
    return [f"{folder.name}/{name}" for name in written]

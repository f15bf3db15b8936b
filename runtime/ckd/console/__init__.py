"""What all command lines share; nothing else imports typer or rich."""

from ckd.console.commands import app, make_folder, run
from ckd.console.progress import Bars, Progress, is_first_process, no_bars, progress_bar, say

__all__ = [
    "Bars",
    "Progress",
    "app",
    "is_first_process",
    "make_folder",
    "no_bars",
    "progress_bar",
    "run",
    "say",
]

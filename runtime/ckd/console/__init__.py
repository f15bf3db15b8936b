"""What all command lines share; nothing else imports typer or rich."""

from ckd.console.commands import app, make_folder, run
from ckd.console.progress import Progress, is_first_process, progress_bar, say

__all__ = ["Progress", "app", "is_first_process", "make_folder", "progress_bar", "run", "say"]

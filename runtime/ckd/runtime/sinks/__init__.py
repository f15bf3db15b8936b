"""Where results go: files for people, one CSV and JSON lines for programs."""

from ckd.runtime.sinks.files import ResultFolder

__all__ = ["ResultFolder"]

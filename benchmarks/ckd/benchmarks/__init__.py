"""Measure a cascade against its peers, on one machine in one run."""

__all__: list[str] = []

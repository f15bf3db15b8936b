"""Train cascades: sub-networks, systems, data, recipes. Everything here may need torch."""

__all__: list[str] = []

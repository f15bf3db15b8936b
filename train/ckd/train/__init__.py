"""Train cascades: sub-networks, systems, data, recipes. Everything here may need torch."""

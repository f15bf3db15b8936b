"""Evaluating a trained system: scores, figures, and explanations of its answers."""

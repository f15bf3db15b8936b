"""Recipes: functions that return a full training run; their docstrings say what it reaches."""

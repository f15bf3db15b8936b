"""Recipes: functions that return a full training run and say what it should give."""

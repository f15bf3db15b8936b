"""Training itself: stages, the run folder, and what happens around the epochs."""

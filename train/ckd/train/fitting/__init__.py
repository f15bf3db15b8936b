"""Training: the plan of a run, its folder, and one stage after the other."""

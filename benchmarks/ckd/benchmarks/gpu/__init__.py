"""`ckd-bench gpu`: a cascade on a GPU against the ways a competent user would run it."""

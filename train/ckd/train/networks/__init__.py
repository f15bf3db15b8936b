"""The sub-networks, one file for each; `ckd.train.systems` joins them to graphs."""

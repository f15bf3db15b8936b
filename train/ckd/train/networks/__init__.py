"""The sub-networks, one file each; `ckd.train.systems` joins them into graphs."""

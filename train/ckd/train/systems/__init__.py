"""Systems: graphs of sub-networks, one file per paper."""

from ckd.train.systems.ckdnet import CkdNet

#: What a recipe can train; each builds its `ckd.train.systems.graph.System`.
Architecture = CkdNet

"""Systems: graphs of sub-networks, one file per paper."""

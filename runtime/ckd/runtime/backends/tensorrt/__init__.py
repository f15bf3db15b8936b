"""TensorRT: engines built on this machine, in processes of their own, and kept."""

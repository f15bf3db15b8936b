"""A CUDA device: memory, streams, graphs, and the chain of engines on it.

Everything here asks CUDA through one small interface, `ckd.runtime.cuda.api.Cuda`. The real one is
`ckd.runtime.cuda.bindings`; the tests have one that records and needs no GPU.
"""

"""A CUDA device: memory, streams, graphs, and the engines of a cascade on it.

Everything here calls CUDA through one small protocol, `ckd.runtime.cuda.api.Cuda`. The real device
is `ckd.runtime.cuda.bindings`; the tests have a device that records calls and needs no GPU.
"""

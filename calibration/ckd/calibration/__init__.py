"""What the tensors between a bundle's networks hold on real images: the ground for lower precision.

Runs the bundle itself, through `ckd.runtime`; needs no torch. Only `lint`, which reads INT8 files,
needs onnx.
"""

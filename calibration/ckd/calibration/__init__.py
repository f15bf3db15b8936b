"""Lower precision with proof: ranges measured on real images, INT8 files, what they cost.

Runs bundles, through `ckd.runtime`, and rewrites their ONNX files; needs no torch.
"""

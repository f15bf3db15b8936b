"""Turn a trained system into a bundle: one ONNX file a node, wired by a spec, proved equal."""

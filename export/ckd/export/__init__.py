"""Turn a trained system into a bundle: one ONNX file a node, wired by a spec, proved equal."""

from typing import TYPE_CHECKING

from ckd.contract.lazy import lazy_names

if TYPE_CHECKING:
    from ckd.export.bundle import EDGE_DTYPES, write_bundle
    from ckd.export.onnx import export_onnx
    from ckd.export.verify import verify_bundle
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "ckd.export.bundle": "EDGE_DTYPES write_bundle",
            "ckd.export.onnx": "export_onnx",
            "ckd.export.verify": "verify_bundle",
        },
    )

__all__ = ["EDGE_DTYPES", "export_onnx", "verify_bundle", "write_bundle"]

"""Fuzz guided by coverage: bytes that reach new lines of ckd are kept, and changed further.

`python tests/system/fuzz_guided.py TARGET CORPUS -max_total_time=600` takes what libFuzzer takes;
CORPUS is a folder, to which sound inputs are added. It needs atheris (`pip install atheris`, wheels
for Linux on x86-64), which is not among the tools of development: the library under it slows down
what it watches, and `fuzz.py` needs none. Nothing but the errors that a reader documents comes out.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import atheris
from fuzz_units import STUDY, UNIT

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from mjpeg_camera import jpeg_of, part

BUNDLE = ROOT / "tests" / "assets" / "tiny_bundle"
SIGNATURE = ROOT / "runtime" / "ckd" / "runtime" / "bundles" / "ckdnet-mobile" / "model.sig"

with atheris.instrument_imports(include=["ckd"]):
    from ckd.contract.cascade_json import spec_from_json
    from ckd.contract.errors import CkdError
    from ckd.contract.hashes import read_hashes
    from ckd.contract.onnx_wire import check_whole
    from ckd.contract.parsing import parse_json, parse_toml
    from ckd.runtime.signed.envelope import Envelope
    from ckd.runtime.sources.multipart import MultipartParser


def _multipart(content: bytes) -> None:
    parser = MultipartParser("cut", max_part_bytes=20_000)
    parser.feed(content, 0.0)
    parser.end()


def _file(name: str) -> bytes:
    return (BUNDLE / name).read_bytes()


#: What reads the bytes, and sound inputs.
TARGETS: dict[str, tuple[Callable[[bytes], object], list[bytes]]] = {
    "cascade.json": (spec_from_json, [_file("cascade.json")]),
    "hashes.json": (read_hashes, [_file("hashes.json")]),
    "json": (parse_json, [json.dumps({"a": [1, 2.5, None, True, "\\u0041"]}).encode()]),
    "toml": (lambda content: parse_toml(content.decode("utf-8", "replace")), [STUDY, UNIT]),
    "network": (check_whole, [_file("cls.fp32.onnx")]),
    "signature": (lambda content: Envelope.of(content).digests(), [SIGNATURE.read_bytes()]),
    "stream": (_multipart, [part(jpeg_of(0)) * 2]),
}


def main() -> None:
    """Fuzz one target, as libFuzzer's options say."""
    if len(sys.argv) < 3 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz_guided.py TARGET CORPUS [-OPTION=VALUE ...]; {', '.join(TARGETS)}")
    name, corpus = sys.argv[1], Path(sys.argv[2])
    read, sound = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(sound):
        (corpus / f"sound{number}").write_bytes(content)

    def one(content: bytes) -> None:
        try:
            read(content)
        except (CkdError, ValueError) as error:
            if not str(error).strip() or "\n" in str(error):
                raise AssertionError("not one line") from error

    atheris.Setup([sys.argv[0], *sys.argv[2:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

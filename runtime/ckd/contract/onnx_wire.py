"""Whether an ONNX file is whole: no weights outside it, and no operators but those of ONNX.

A tensor of an ONNX file may name another file for its values, which an engine then reads from the
folder that it happens to run in; and an operator of another domain may be code of whoever installed
it. Both are refused before an engine sees the file, by the wire format of Protocol Buffers alone,
since a device has no package `onnx`. Numbers of fields are those of onnx.proto of ONNX 1.22.

Everything is looked at that a parser might: a field that is given twice, both times. What cannot be
understood is refused, but for fields that are unknown, as a parser skips them.
"""

from collections.abc import Iterator
from typing import Final

_OTHER_FORMAT: Final = b"ORTM"
#: Domains of the standard's own operators.
_STANDARD: Final = (b"", b"ai.onnx")
#: Messages within messages (a graph within a graph is three: node, attribute, graph), and fields
#: of a file, of which networks have far fewer.
_DEEPEST: Final = 48
_MOST_FIELDS: Final = 2_000_000
_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _OPSET = range(7)
#: Of a kind of message: number of a field -> the kind of message in it.
_WITHIN: Final = {
    _MODEL: {7: _GRAPH, 8: _OPSET},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
}
#: Of a kind of message: number of a field -> what it makes of a file. A tensor's values lie
#: elsewhere if it has external_data, or a data_location other than 0.
_FOREIGN: Final = {
    _MODEL: {20: "holds training", 25: "defines functions"},
    _TENSOR: {13: "has weights outside it", 14: "has weights outside it"},
}
#: Of a kind of message: number of the field that names a domain.
_DOMAIN: Final = {_NODE: 7, _OPSET: 1}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_whole(content: bytes) -> None:
    """Look through an ONNX file.

    Raises:
        ValueError: it is no ONNX file, holds what only other files or programs can make whole, or
            is nested or split up as no network is; the message follows the file's name.
    """
    # ONNX Runtime takes a file with these letters for one of its own format, whatever else it is.
    if content[4:8] == _OTHER_FORMAT:
        raise ValueError("is of ONNX Runtime's own format, expected ONNX")
    numbers = _Reader(content).read()
    if 7 not in numbers:
        raise ValueError("holds no graph, or is no ONNX file")


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content = memoryview(content)
        self._num_fields = 0

    def read(self) -> set[int]:
        """Look through all messages; gives which messages the outermost holds, by number."""
        numbers: set[int] = set()
        left = [(_MODEL, 0, len(self._content), 0)]
        while left:
            kind, start, end, depth = left.pop()
            if depth > _DEEPEST:
                raise ValueError("holds graphs within graphs without end")
            for number, wire, at, value in self._fields(start, end):
                if (what := _FOREIGN.get(kind, {}).get(number)) and (wire == _BYTES or value):
                    raise ValueError(what)
                if wire != _BYTES:
                    continue
                if kind == _MODEL:
                    numbers.add(number)
                if number == _DOMAIN.get(kind):
                    self._check_domain(at, value)
                inner = _WITHIN.get(kind, {}).get(number)
                if inner is not None:
                    left.append((inner, at, at + value, depth + 1))
        return numbers

    def _check_domain(self, at: int, size: int) -> None:
        domain = bytes(self._content[at : at + min(size, 41)])
        if domain not in _STANDARD:
            name = repr(domain[:40].decode(errors="replace"))
            raise ValueError(f"uses operators of {name}, which are not those of ONNX")

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Fields of a message: number, wire type, where the content begins, its value or size."""
        while at < end:
            self._num_fields += 1
            if self._num_fields > _MOST_FIELDS:
                raise ValueError("holds more fields than any network")
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            if number == 0 or key >> 32 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
                raise ValueError("is malformed, or no ONNX file")
            value = 0
            if wire in (_VARINT, _BYTES):
                value, at = self._varint(at, end)
            yield number, wire, at, value
            at += {_VARINT: 0, _FIXED64: 8, _BYTES: value, _FIXED32: 4}[wire]
            if at > end:
                raise ValueError("is cut off, or no ONNX file")

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                raise ValueError("is cut off, or no ONNX file")
            byte = self._content[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (1 << 64) - 1, at
        raise ValueError("is malformed, or no ONNX file")

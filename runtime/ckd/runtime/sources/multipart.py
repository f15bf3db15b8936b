"""The parts of an endless multipart stream (RFC 2046), as network cameras send them.

As lenient as browsers. A boundary counts with and without its dashes and quotes, and if the stream
begins with another one than was announced, with that one. The first boundary may be missing, and a
part may have no type, no length, or no header at all. A length only says sooner that a part is
complete: where a boundary comes before, the part ends there, and after a length that was wrong
once, parts end at boundaries only.
"""

import re
from typing import Literal, NamedTuple

from ckd.picture import begins_as_picture

#: A larger part is refused before it has arrived: 64 megapixels of JPEG are about half.
MAX_PART_BYTES = 64 * 2**20
#: Of the header of one part. A longer one is no header.
MAX_HEADER_BYTES = 16_384
_MAX_DASHES = 80  # before a boundary; RFC 2046 allows 70 characters
_NUM_DECIDING = 8  # bytes by which a picture is told from a header
_HEADER_LINE = re.compile(rb"[A-Za-z][\w-]*[ \t]*:")
_ANY_BOUNDARY = re.compile(rb"\n--([\x21-\x7e]{1,70})\r?\n")

_State = Literal["between", "header", "body", "skip"]


class Part(NamedTuple):
    """One part; ``fault`` is "refused" for one that is too long, "damaged" for an endless header.

    ``content`` is then empty. ``began_s`` is when its first bytes came, ``kind`` its type in lower
    case without parameters, or an empty text.
    """

    content: bytes
    kind: str
    began_s: float
    fault: Literal["", "damaged", "refused"] = ""


class MultipartParser:
    """Is fed with bytes as they come, and gives the parts that are complete.

    Args:
        boundary: as the server announced it; an empty text if it did not.
        max_part_bytes: a longer part is skipped, so that memory stays bounded.
    """

    def __init__(self, boundary: str, max_part_bytes: int = MAX_PART_BYTES) -> None:
        self._boundary = boundary.strip().strip('"').lstrip("-").encode("latin-1", "replace")
        self._num_dashes = 0  # that stand before every boundary of this stream
        self._max_part_bytes = max_part_bytes
        self._buffer = bytearray()
        self._state: _State = "between"
        self._is_at_start = True
        self._is_length_trusted, self._ended_by_length = True, False
        self._searched = 0  # bytes of the buffer that hold no boundary
        self._length: int | None = None
        self._kind = ""
        self._header_bytes = 0
        self._began_s = 0.0
        self._parts: list[Part] = []

    def feed(self, chunk: bytes, now_s: float) -> list[Part]:
        """The parts that these bytes complete."""
        self._buffer += chunk
        steps = {
            "between": self._find_part,
            "header": self._read_header,
            "body": self._read_body,
            "skip": self._skip,
        }
        while steps[self._state](now_s):
            pass
        parts, self._parts = self._parts, []
        return parts

    def end(self) -> list[Part]:
        """The part that ends with the stream, if there is one; it may be cut off."""
        left = bytes(self._buffer)
        self._buffer.clear()
        return [Part(left, self._kind, self._began_s)] if self._state == "body" and left else []

    # Each step gives True if it got on, and False if it needs more bytes.

    def _find_part(self, now_s: float) -> bool:
        buffer = self._buffer
        while buffer.startswith((b"\r", b"\n")):
            del buffer[:1]
        if len(buffer) < _NUM_DECIDING:
            return False
        if self._is_at_start and begins_as_picture(buffer):
            return self._begin("body", now_s)
        end = buffer.find(b"\n")
        if end < 0:
            if len(buffer) > MAX_HEADER_BYTES:  # no boundary is as long
                self._length_was_wrong()
                del buffer[:-_MAX_DASHES]
            return False
        line = bytes(buffer[:end]).strip()
        is_header = self._is_at_start and _HEADER_LINE.match(line) is not None
        if not is_header:
            del buffer[: end + 1]
        if is_header or self._is_boundary(line):
            return self._begin("header", now_s)
        self._length_was_wrong()
        return True

    def _begin(self, state: _State, now_s: float) -> bool:
        self._state, self._is_at_start, self._ended_by_length = state, False, False
        self._length, self._kind, self._header_bytes, self._searched = None, "", 0, 0
        self._began_s = now_s
        return True

    def _read_header(self, now_s: float) -> bool:
        if len(self._buffer) < _NUM_DECIDING:
            return False
        if begins_as_picture(self._buffer):
            self._state = "body"
            return True
        end = self._buffer.find(b"\n")
        line_bytes = end if end >= 0 else len(self._buffer)
        if self._header_bytes + line_bytes > MAX_HEADER_BYTES:
            return self._give_up("damaged")
        if end < 0:
            return False
        line = bytes(self._buffer[:end]).strip()
        del self._buffer[: end + 1]
        self._header_bytes += end + 1
        name, _, value = line.partition(b":")
        match name.strip().lower():
            case b"":
                self._state = "body"
                if self._length is not None and self._length > self._max_part_bytes:
                    return self._give_up("refused")
            case b"content-length" if value.strip().isdigit():
                self._length = int(value.strip()[:12])
            case b"content-type":
                self._kind = value.partition(b";")[0].strip().lower().decode("latin-1")
            case _ if self._is_boundary(line):  # a part of nothing
                self._begin("header", now_s)
        return True

    def _read_body(self, now_s: float) -> bool:
        end = self._boundary_at()
        by_length = self._length if self._is_length_trusted and self._length else None
        if by_length is not None and len(self._buffer) >= by_length and not 0 <= end < by_length:
            end, self._ended_by_length = by_length, True
        if end < 0:
            return len(self._buffer) > self._max_part_bytes and self._give_up("refused")
        if content := bytes(self._buffer[:end]):
            self._parts.append(Part(content, self._kind, self._began_s))
        del self._buffer[:end]
        self._state = "between"
        return True

    def _give_up(self, fault: Literal["damaged", "refused"]) -> bool:
        self._parts.append(Part(b"", self._kind, self._began_s, fault))
        self._state, self._searched = "skip", 0
        return True

    def _skip(self, now_s: float) -> bool:
        end = self._boundary_at()
        if end >= 0:
            del self._buffer[:end]
            self._state = "between"
            return True
        del self._buffer[: max(0, len(self._buffer) - 2 * _MAX_DASHES)]
        self._searched = 0
        return False

    # Boundaries.

    def _is_boundary(self, line: bytes) -> bool:
        core = line.lstrip(b"-")
        if self._is_at_start and line.startswith(b"--") and core:  # whatever was announced
            self._boundary = core
        if not core or self._boundary not in (core, core.removesuffix(b"--")):
            return False
        if self._is_at_start:
            self._num_dashes = len(line) - len(core)
        return True

    def _boundary_at(self) -> int:
        """Where the line end before the next boundary begins; -1 if there is none yet."""
        buffer = self._buffer
        if not self._boundary:  # neither announced nor seen
            if (match := _ANY_BOUNDARY.search(buffer, self._searched)) is None:
                self._searched = max(0, len(buffer) - _MAX_DASHES)
                return -1
            self._boundary = match[1].lstrip(b"-")
        at = self._searched
        while (at := buffer.find(self._boundary, at)) >= 0:
            line = at
            while line > 0 and at - line < _MAX_DASHES and buffer[line - 1] == ord("-"):
                line -= 1
            if at - line >= self._num_dashes and line > 0 and buffer[line - 1] == ord("\n"):
                return line - 2 if line > 1 and buffer[line - 2] == ord("\r") else line - 1
            at += 1
        self._searched = max(0, len(buffer) - len(self._boundary))
        return -1

    def _length_was_wrong(self) -> None:
        """Bytes after a part that had all that its length announced."""
        if self._ended_by_length:
            self._is_length_trusted = False


class SinglePicture:
    """Collects the one picture of an answer, as `MultipartParser` does parts."""

    def __init__(self, max_bytes: int = MAX_PART_BYTES) -> None:
        self._max_bytes = max_bytes
        self._content = bytearray()
        self._began_s = 0.0
        self._is_too_long = False

    def feed(self, chunk: bytes, now_s: float) -> list[Part]:
        """Nothing: the picture is complete at the end."""
        self._began_s = self._began_s or now_s
        if not self._is_too_long:
            self._content += chunk
        if len(self._content) > self._max_bytes:
            self._is_too_long = True
            self._content.clear()
            return [Part(b"", "", self._began_s, "refused")]
        return []

    def end(self) -> list[Part]:
        """The picture."""
        if not self._content:
            return []
        return [Part(bytes(self._content), "", self._began_s)]

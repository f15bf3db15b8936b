"""Hypothesis strategies: descriptions of cascades, unit files, HTTP requests; mostly almost right.

Nothing is left behind: there is no database of examples, and what Hypothesis writes for itself goes
to a folder that lasts as long as the process.
"""

import json
import os
import random
import tempfile
from collections.abc import Callable
from typing import Any

_HOME = tempfile.TemporaryDirectory()
os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = _HOME.name  # read when it is imported

from damage import odd_json
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

#: Whole values of TOML, of all kinds, most of them wrong wherever they stand.
_LITERALS = (
    "0", "1", "-1", "2", "90", "640", "1920", "0.5", "-0.0", "1e6", "1e308", "1e400", "nan", "-inf",
    "9223372036854775807", "9223372036854775808", "true", "false", '""', '"a"', '"MJPG"',
    '"\\u0000"', '"\\u001b[31m"', "'usb:2ce3:9563'", "[]", "[[]]", "[1, 2, 3]", "{}", "{a = 1}",
    "[960, 540, 1000]",
    "[[1.1, -0.05, 0.0], [0.0, 1.2, 0.0], [0, 0, 1]]", "1979-05-27", "07:32:00", "0x10", "1_000",
    '"KEY_CAMERA"', '"/dev/input/event0"', '"capture"',
)  # fmt: skip
_KEYS = {
    "": ("name", "source", "polarised", "debounce_ms"),
    "camera": ("width_px", "height_px", "format", "fps", "exposure_ms", "gain", "white_balance_k"),
    "picture": ("field_px", "rotate_deg", "mirror", "flip", "mm_per_px"),
    "colour": ("matrix",),
    "coach": ("focus", "motion", "light", "glare"),
    "[button]": ("key", "code", "device", "does"),
}
_NAMES = st.sampled_from(("a", "b", "mask", "", "x\n", "\x1b[31m", "é", "../x", "A" * 300))
#: All of Unicode would take 170 MiB and seconds at the first text.
_LETTERS = "aZ09 /:;?&=%#.-_[]{}()<>\"'\\\t\r\n\x00\x1b\x7fé\u2028\N{SNOWMAN}\N{GRINNING FACE}"
_SIZES = st.one_of(
    st.integers(1, 64), st.sampled_from((0, -1, True, 1.5, None, "N", 2**31, 2**63, 10**200))
)


def tried(
    run: Callable[[Any], object], inputs: st.SearchStrategy[Any], number: int, examples: int,
    *, shrinks: bool = True,
) -> None:  # fmt: skip
    """Call a function with inputs of a strategy; the number decides which ones these are.

    What it raises is raised again, with ``shrinks`` of the smallest input that is found to raise
    it, for which Hypothesis tries up to five minutes.
    """
    phases = (Phase.generate, *([Phase.shrink] if shrinks else []))
    limits = settings(
        max_examples=examples, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=phases,
    )  # fmt: skip

    @limits
    @seed(number)
    @given(inputs)
    def check(content: Any) -> None:
        run(content)

    check()


@st.composite
def cascades(draw: st.DrawFn) -> bytes:
    """`cascade.json` of one to four nodes in a row or across, with up to three odd places."""
    side = draw(st.sampled_from((32, 64, 192)))
    known = ["image"]
    nodes, tensors = [], {"image": {"shape": [1, side, side, 3], "dtype": {"fp32": "uint8"}}}
    for number in range(draw(st.integers(1, 4))):
        inputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
        written = [f"t{number}{letter}" for letter in "xy"[: draw(st.integers(1, 2))]]
        for name in written:
            shape = draw(st.sampled_from(([1, 2], [1, 1, side, side], [1, 2, 8, 8], [1, 7])))
            tensors[name] = {"shape": list(shape), "dtype": {"fp32": "float32"}}
        files = {"fp32": f"n{number}.fp32.onnx"}
        nodes.append({"name": f"n{number}", "inputs": inputs, "outputs": written, "files": files})
        known += written
    outputs = {
        name: draw(st.sampled_from((None, *(t for t in known if tensors[t]["shape"] == shape))))
        for name, shape in (("class_logits", [1, 2]), ("mask_logits", [1, 1, side, side]))
    }
    tree: Any = {
        "schema": 2, "name": "made", "system": "made", "labels": ["MEL", "NEV"], "tasks": ["MEL"],
        "preprocess": {"colour": "RGB", "resize": "area, squashed", "size": side},
        "thresholds": {"mask": draw(st.floats(0, 1, exclude_min=True, exclude_max=True))},
        "tensors": tensors, "nodes": nodes,
        "outputs": outputs, "provenance": {},
    }  # fmt: skip
    if not draw(st.integers(0, 3)):
        tensors[draw(st.sampled_from(known))]["shape"] = draw(st.lists(_SIZES, max_size=10))
    if not draw(st.integers(0, 3)):
        tree[draw(st.sampled_from(("name", "system")))] = draw(_NAMES)
    for _ in range(draw(st.integers(0, 1))):
        tree = odd_json(random.Random(draw(st.integers(0, 2**32))), tree)
    return json.dumps(tree).encode()


@st.composite
def unit_files(draw: st.DrawFn) -> bytes:
    """A unit file with some tables, known keys and values of all kinds."""
    lines = []
    for table in draw(st.lists(st.sampled_from(tuple(_KEYS)), max_size=6, unique=True)):
        keys = draw(st.lists(st.sampled_from((*_KEYS[table], "unknown")), max_size=4, unique=True))
        lines += [f"[{table}]"] if table else []
        lines += [f"{key} = {draw(st.sampled_from(_LITERALS))}" for key in keys]
    return "\n".join(lines).encode()


@st.composite
def http_requests(draw: st.DrawFn) -> bytes:
    """One to three requests in a row: known paths and headers among any, bodies, odd line ends."""
    names = ("Host", "Content-Length", "Transfer-Encoding", "Connection", "X-CKD-View", "Expect")
    values = st.one_of(
        st.sampled_from((
            "127.0.0.1", "localhost:8080", "[::1", "[::1]:x", "evil.example", "0", "-1", "9" * 400,
            "chunked", "close", "keep-alive", "Upgrade", "100-continue", "bytes=0-", "",
        )),
        st.text(_LETTERS, max_size=20),
    )  # fmt: skip
    paths = (
        "/", "/stream.mjpg", "/state.json", "/save", "/freeze?on=1", "/freeze?on=%00&on=1", "*",
        "//[", "http://[::1", "/%ff/../", "/?token=" + "a" * 300,
    )  # fmt: skip
    versions = (*["HTTP/1.1"] * 9, "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/x", "")
    sent = ""
    for _ in range(draw(st.integers(1, 3))):
        end = draw(st.sampled_from(("\r\n", "\r\n", "\r\n", "\n", "\r")))
        method = draw(st.sampled_from((*["GET"] * 6, "POST", "HEAD", "PUT", "get", "", "G" * 100)))
        path = draw(st.one_of(*[st.sampled_from(paths)] * 3, st.text(_LETTERS, max_size=30)))
        version = draw(st.sampled_from(versions))
        pairs = draw(st.lists(st.tuples(st.sampled_from(names), values), max_size=3))
        if draw(st.booleans()):
            pairs.insert(0, ("Host", "127.0.0.1"))
        head = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in pairs)]
        sent += end.join(head) + 2 * end + draw(st.text(_LETTERS, max_size=30))
    return sent.encode("utf-8", "replace")

"""Whether a frame that was replayed is the frame that was recorded, to the bit; and if not, where.

Tensors are compared in the order in which the networks write them, so that the first one that
differs is where the difference came in.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ckd.contract.parsing import parse_json
from ckd.contract.wiring import IMAGE
from ckd.finding.finding import Finding
from ckd.runtime.chain import Chain
from ckd.runtime.inputs import Analysed
from ckd.runtime.journal.record import mask_hashes, sha256_of
from ckd.runtime.journal.stored import StoredFrame

#: What of a finding follows from the logits of its one frame. The rest says by what it was made,
#: how long it took, or depends on the frames before.
_COMPARED: Final = (
    "outcome", "reason", "decision", "size_hw", "probabilities", "prevalence", "top",
    "lesion_area_px", "mask_from", "outline", "quality", "raw", "left_out",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replayed frame first differs from the recorded one.

    Attributes:
        frame: number of the frame.
        what: the tensor, or "finding" or "mask".
        detail: by how much, as far as the journal can tell.
        largest: absolute difference of any value; None where only a hash was recorded.
        by_output: of each output that differs, the largest absolute difference; None where values
            are not finite.
    """

    frame: int
    what: str
    detail: str
    largest: float | None
    by_output: Mapping[str, float | None]

    @property
    def shown(self) -> str:
        """As one sentence without its end."""
        return f"frame {self.frame}: the first that differs is {self.what}, {self.detail}"


def difference(
    chain: Chain, stored: StoredFrame, heard: Analysed, finding: Finding | None
) -> Difference | None:
    """The first difference; None where every recorded bit is the same.

    Args:
        chain: that was run again.
        stored: the recorded frame.
        heard: what the networks gave now; with all tensors, if the journal has their hashes.
        finding: of now; None if a network gave no finite numbers.

    Raises:
        ValueError: the recorded frame is damaged.
    """
    by_output, details = dict[str, float | None](), {}
    for name, now in heard.outputs.items():  # all that were not left out
        recorded = stored.output(chain.tensors[name])
        if recorded.tobytes() != now.tobytes():
            by_output[name], details[name] = _by_how_much(recorded, now)
    for name in _running_order(chain):
        if name in by_output:
            return Difference(
                stored.number, f"the tensor {name}", details[name], by_output[name], by_output
            )
        values, known = heard.tensors.get(name), stored.tensors.get(name)
        if values is not None and known is not None and sha256_of(values) != known:
            return Difference(
                stored.number, f"the tensor {name}", _behind(details), None, by_output
            )
    if where := _finding_differs(stored, finding):
        return Difference(stored.number, where, "from the same tensors", None, by_output)
    return None


def _running_order(chain: Chain) -> list[str]:
    return [IMAGE, *(name for node in chain.spec.nodes for name in node.outputs)]


def _by_how_much(recorded: NDArray[Any], now: NDArray[Any]) -> tuple[float | None, str]:
    count = int(np.count_nonzero(recorded != now))
    of = f"in {count} of {recorded.size} values"
    if not (np.isfinite(recorded).all() and np.isfinite(now).all()):
        return None, f"{of}, and not all of them are finite"
    if count == 0:
        return 0.0, "in the signs of zeros"
    largest = float(np.abs(recorded.astype(np.float64) - now.astype(np.float64)).max())
    return largest, f"by up to {largest:.3g} {of}"


def _behind(details: Mapping[str, str]) -> str:
    """What an inner tensor, of which only the hash is known, did to the outputs."""
    if not details:
        return "by its hash, while all outputs are the same"
    return "by its hash; " + "; ".join(f"{name} {detail}" for name, detail in details.items())


def _finding_differs(stored: StoredFrame, finding: Finding | None) -> str:
    if finding is None or stored.finding is None:
        is_same = finding is None and stored.finding is None
        return "" if is_same else "whether there is a finding at all"
    now = parse_json(finding.to_json())
    for key in _COMPARED:
        if key in stored.finding and not _holds(now[key], stored.finding[key]):
            return f"the finding's {key}"
    hashes = mask_hashes(finding)
    for name, known in stored.masks.items():
        if hashes.get(name) != known:
            return f"the {name} mask"
    return ""


def _holds(now: Any, recorded: Any) -> bool:
    """Whether all that was recorded is the same now; objects may have got further keys."""
    if isinstance(now, dict) and isinstance(recorded, dict):
        return all(key in now and _holds(now[key], value) for key, value in recorded.items())
    return bool(now == recorded)

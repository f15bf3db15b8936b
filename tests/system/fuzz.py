"""Fuzz: damaged and odd inputs of every kind, read by what reads them on a device or in training.

Whatever the bytes are, a reader gives its result or raises CkdError, within minutes, and memory
stays bounded. All targets, or the one of `--target`, share the time evenly. Each case is made from
seed, target and number alone; one that fails is kept, and named so that `--target T --seed S
--first N` starts with it.
"""

import faulthandler
import os
import random
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from damage import Case
from fuzz_files import FileCases
from fuzz_http import HttpCases
from fuzz_rules import RuleCases
from fuzz_trust import TrustCases
from long_run import Counts, command_line, resident_mib

from ckd.contract.errors import CkdError, UsageError

SEED = 0
MAX_MIB = 3000.0  # 64 megapixels are decoded several times over
MAX_GROWTH_MIB = 200.0
#: An input that takes longer hangs; the process ends, with the place where it is.
MAX_S = 300.0
#: Where inputs are kept that raised anything but CkdError.
FAILED = Path("runs") / "fuzz"


@dataclass
class Outcome:
    """What became of the inputs of one target."""

    counted: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    cases: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    most_mib: float = 0.0
    grew_mib: float = 0.0

    def as_dict(self) -> dict[str, object]:
        inputs = self.counted.total()
        return {
            "inputs": inputs,
            **dict(sorted(self.counted.items())),
            "per_second": round(inputs / self.seconds, 1) if self.seconds else 0,
            "slowest_s": round(self.slowest[0], 3),
            "slowest_number": self.slowest[1],
            "most_mib": round(self.most_mib, 1),
        }


def fuzz(
    minutes: float, folder: Path, seed: int = SEED, first: int = 0, target: str = ""
) -> Counts:
    """Run for so many minutes; AssertionError if anything but CkdError comes out of a reader."""
    with HttpCases() as http:
        kinds: dict[str, Case] = {**FileCases(folder).kinds, **TrustCases(folder).kinds}
        kinds |= http.kinds | RuleCases(http.send).kinds
        if target and target not in kinds:
            raise UsageError(f"--target {target}: expected one of {', '.join(sorted(kinds))}")
        names = [target] if target else sorted(kinds)
        outcomes = {
            name: _run(name, kinds[name], 60 * minutes / len(names), folder, seed, first)
            for name in names
        }
    record: Counts = {
        "seed": seed,
        "inputs": sum(outcome.counted.total() for outcome in outcomes.values()),
        "faults": sum(len(outcome.faults) for outcome in outcomes.values()),
        "targets": {name: outcome.as_dict() for name, outcome in outcomes.items()},
        "memory_mib": {"most": round(max(one.most_mib for one in outcomes.values()), 1)},
    }
    faults = [fault for outcome in outcomes.values() for fault in outcome.faults]
    assert not faults, "\n".join(faults)
    for name, outcome in outcomes.items():
        assert outcome.counted.total() > 0, name
        assert not outcome.counted["refused without a word"], name
        assert outcome.most_mib < MAX_MIB, (name, outcome.most_mib)
        assert outcome.grew_mib < MAX_GROWTH_MIB, (name, outcome.grew_mib)
    return record


def _run(name: str, case: Case, seconds: float, folder: Path, seed: int, first: int) -> Outcome:
    outcome, began_s, warm_mib = Outcome(), time.monotonic(), 0.0
    _forget_most()
    while time.monotonic() - began_s < seconds and len(outcome.faults) < 5:
        number = first + outcome.cases
        place = folder / "case"
        place.mkdir()
        read = case(random.Random(f"{seed} {name} {number}"), place)
        faulthandler.dump_traceback_later(MAX_S, exit=True)
        case_s = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of much that it then reads
                given = read()
            # One case may be many inputs.
            outcome.counted.update(given if isinstance(given, Counter) else {"read": 1})
        except CkdError as error:
            outcome.counted["refused" if str(error).strip() else "refused without a word"] += 1
        except Exception:
            outcome.counted["faults"] += 1
            kept = FAILED / f"{name}_{seed}_{number}"
            shutil.copytree(place, kept, dirs_exist_ok=True)
            outcome.faults.append(
                f"--target {name} --seed {seed} --first {number}, input kept in {kept}:\n"
                f"{traceback.format_exc()}"
            )
        outcome.slowest = max(outcome.slowest, (time.monotonic() - case_s, number))
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(place)
        outcome.cases += 1
        if outcome.cases == 100:
            warm_mib = resident_mib(os.getpid())
    outcome.seconds = time.monotonic() - began_s
    # Not by `getrusage`, which counts what the process that started this one held.
    outcome.most_mib = resident_mib(os.getpid(), "VmHWM")
    if warm_mib:
        outcome.grew_mib = resident_mib(os.getpid()) - warm_mib
    print(f"{name}: {outcome.as_dict()}", file=sys.stderr, flush=True)
    return outcome


def _forget_most() -> None:
    """Count the largest memory of this process (VmHWM) from now on; proc(5), clear_refs."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    command_line(fuzz, seed=SEED, first=0, target="")

"""Fuzz: damaged and odd inputs of every kind, read by what reads them on a device or in training.

Whatever the bytes are, a reader gives its result or raises CkdError, within minutes, and memory
stays bounded. All targets, or the one of `--target`, share the time evenly; each reads sound inputs
first. A case is made from seed, target and number alone (a journal also has the times at which it
was recorded). Its input lies in runs/fuzz/TARGET_SEED_NUMBER while it is read, and stays there if
it fails, hangs or ends the process; `--target T --seed S --first N` starts with it.
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
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from damage import Case, Sparing
from fuzz_files import FileCases
from fuzz_http import HttpCases
from fuzz_rules import RuleCases
from fuzz_trust import TrustCases
from fuzz_weights import WeightCases
from long_run import Counts, command_line, resident_mib

from ckd.contract.errors import CkdError

SEED = 0
MAX_MIB = 3000.0  # 64 megapixels are decoded several times over
MAX_GROWTH_MIB = 200.0
#: An input that takes longer hangs; the process ends, with the place where it is.
MAX_S = 300.0
#: Where inputs are while they are read.
READ_IN = Path("runs") / "fuzz"
#: Cases of each target that have a sound input.
NUM_SOUND = 10
TARGETS = (
    "acceptance", "cache", "cascade.json", "cascade.json-by-rule", "certificate", "checkpoint",
    "dicom", "hashes.json", "http", "http-by-rule", "journal", "json", "keys", "mask", "network",
    "photograph", "recipe", "signature", "stream", "table", "toml", "unit", "unit-by-rule",
    "weights", "x509", "zip",
)  # fmt: skip


@dataclass
class Outcome:
    """What became of the inputs of one target."""

    counted: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    cases: int = 0
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, -1)
    most_mib: float = 0.0
    #: After half of the time, and at its end.
    warm_mib: float = 0.0
    last_mib: float = 0.0

    def as_dict(self) -> dict[str, object]:
        inputs = self.counted.total()
        return {
            "inputs": inputs,
            **dict(sorted(self.counted.items())),
            "per_second": round(inputs / self.seconds, 1) if self.seconds else 0,
            "slowest_s": round(self.slowest[0], 3),
            "slowest_number": self.slowest[1],
            "most_mib": round(self.most_mib, 1),
            "warm_mib": round(self.warm_mib, 1),
            "last_mib": round(self.last_mib, 1),
        }


def fuzz(
    minutes: float, folder: Path, seed: int = SEED, first: int = 0, target: str = ""
) -> Counts:
    """Run for so many minutes; AssertionError if anything but CkdError comes out of a reader."""
    faulthandler.enable()
    print(f"what is being read lies in {READ_IN}", file=sys.stderr, flush=True)
    began_s = time.monotonic()
    with HttpCases() as http:
        kinds = {**FileCases(folder).kinds, **TrustCases(folder).kinds, **WeightCases().kinds}
        kinds |= http.kinds
        by_rule = RuleCases(http.heard).kinds
        assert sorted(kinds | by_rule) == sorted(TARGETS)
        names = [target] if target else sorted(TARGETS)
        read_sound({name: kinds[name] for name in names if name in kinds}, folder)
        kinds |= by_rule
        seconds = (60 * minutes - (time.monotonic() - began_s)) / len(names)
        outcomes = {name: run_target(name, kinds[name], seconds, seed, first) for name in names}
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
        grew_mib = outcome.last_mib - outcome.warm_mib
        assert grew_mib < MAX_GROWTH_MIB, (name, grew_mib)
    return record


def read_sound(kinds: Mapping[str, Case], folder: Path) -> None:
    """AssertionError if what is not damaged is not read: the kind would test nothing."""
    for name, case in kinds.items():
        for number in range(NUM_SOUND):
            place = folder / "sound"
            place.mkdir()
            try:
                case(Sparing(f"{name} {number}"), place)()
            except CkdError as error:
                raise AssertionError(f"{name}: a sound input is refused") from error
            shutil.rmtree(place)


def run_target(name: str, case: Case, seconds: float, seed: int, first: int) -> Outcome:
    """Read inputs of one kind for so many seconds; what fails is among the faults."""
    outcome, began_s = Outcome(), time.monotonic()
    _forget_most()
    # At least one, as sound inputs may have taken all the time of a short run.
    while not outcome.cases or (time.monotonic() - began_s < seconds and len(outcome.faults) < 5):
        number = first + outcome.cases
        place = READ_IN / f"{name}_{seed}_{number}"
        shutil.rmtree(place, ignore_errors=True)  # it failed before
        place.mkdir(parents=True)
        read = case(random.Random(f"{seed} {name} {number}"), place)
        faulthandler.dump_traceback_later(MAX_S, exit=True)
        case_s = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of much that it then reads
                given = read()
            # One case may be many inputs.
            outcome.counted.update(given if isinstance(given, Counter) else {"read": 1})
            shutil.rmtree(place)
        except CkdError as error:
            shutil.rmtree(place)
            outcome.counted["refused" if str(error).strip() else "refused without a word"] += 1
        except Exception:
            outcome.counted["faults"] += 1
            outcome.faults.append(
                f"--target {name} --seed {seed} --first {number}, input kept in {place}:\n"
                f"{traceback.format_exc()}"
            )
        outcome.slowest = max(outcome.slowest, (time.monotonic() - case_s, number))
        faulthandler.cancel_dump_traceback_later()
        outcome.cases += 1
        if not outcome.warm_mib and time.monotonic() - began_s >= seconds / 2:
            outcome.warm_mib = resident_mib(os.getpid())
    outcome.seconds = time.monotonic() - began_s
    # Not by `getrusage`, which counts what the process that started this one held.
    outcome.most_mib = resident_mib(os.getpid(), "VmHWM")
    outcome.last_mib = resident_mib(os.getpid())
    print(f"{name}: {outcome.as_dict()}", file=sys.stderr, flush=True)
    return outcome


def _forget_most() -> None:
    """Count the largest memory of this process (VmHWM) from now on; proc(5), clear_refs."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    command_line(fuzz, seed=SEED, first=0, target=("", *TARGETS))

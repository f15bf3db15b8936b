"""Cases of the fuzz test that are made by rules (Hypothesis), where damage rarely makes sense.

A case is a few dozen inputs of one rule.
"""

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import strategies
from damage import Case

from ckd.contract.cascade_json import spec_from_json
from ckd.contract.errors import CkdError
from ckd.runtime.unit import read_unit

EXAMPLES = 30


class RuleCases:
    """The kinds by name.

    Args:
        send: of a request to a live page.
    """

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self.kinds: dict[str, Case] = {
            "cascade.json-by-rule": self.cascade_json,
            "http-by-rule": self.http,
            "unit-by-rule": self.unit,
        }

    def cascade_json(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Descriptions of cascades of any wiring, mostly almost right."""
        return lambda: self._run(rng, strategies.cascades(), folder, spec_from_json)

    def unit(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Unit files with some of the known keys, and values of any kind."""
        return lambda: self._run(
            rng, strategies.unit_files(), folder, lambda _: read_unit(folder / "input")
        )

    def http(self, rng: random.Random, folder: Path) -> Callable[[], object]:
        """Requests of any method, path, headers and line ends."""
        return lambda: self._run(rng, strategies.http_requests(), folder, self._send)

    def _run(
        self, rng: random.Random, inputs: Any, folder: Path, read: Callable[[bytes], object]
    ) -> Counter[str]:
        counted: Counter[str] = Counter()

        def one(content: bytes) -> None:
            (folder / "input").write_bytes(content)
            try:
                read(content)
                counted["read"] += 1
            except CkdError as error:
                counted["refused" if str(error).strip() else "refused without a word"] += 1

        # What fails stays as it is: to make it smaller might take longer than an input may.
        strategies.tried(one, inputs, rng.getrandbits(64), EXAMPLES, shrinks=False)
        return counted

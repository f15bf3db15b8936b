"""A bundle that says of what run it was exported."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ckd.contract.bundle import CASCADE, Bundle
from ckd.contract.cascade_json import spec_to_json
from ckd.contract.hashes import write_hashes


def made_of(bundle: Path, out: Path, digests: Mapping[str, str]) -> Path:
    """A copy of a bundle, in which the provenance also holds these."""
    shutil.copytree(bundle, out)
    spec = Bundle(bundle).spec
    (out / CASCADE).write_text(
        spec_to_json(replace(spec, provenance={**spec.provenance, **digests}))
    )
    write_hashes(out)
    return out

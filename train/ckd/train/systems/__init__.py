"""Systems: graphs of sub-networks, one file per paper."""

from typing import Annotated

from pydantic import Field

from ckd.train.systems.ckdnet import CkdNet
from ckd.train.systems.clnet import ClNet

#: What a recipe can train; each builds its `ckd.train.systems.graph.System`.
Architecture = Annotated[
    CkdNet
    | ClNet,
    Field(discriminator="kind"),
]  # fmt: skip

"""The multi-task net (after Yang et al. 2017, arXiv 1703.01025): one network, three answers.

    image ──► net ──► logits        one yes/no question for each label, such as (MEL, SBK)
                 └──► mask_logits

The labels do not exclude each other: a nevus of ISIC 2017 is neither of the two.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, PositiveInt

from ckd.contract.labels import headline_tasks
from ckd.contract.spec import OutputSpec
from ckd.contract.wiring import IMAGE
from ckd.train.networks.encoder import build_encoder
from ckd.train.networks.multitask import MultiTaskNet
from ckd.train.networks.pretrained import Weights
from ckd.train.settings import STRICT
from ckd.train.systems.backbones import BackboneName
from ckd.train.systems.graph import Node, System


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiTask:
    """Shape of a multi-task net: by default 11.7 M parameters and 4.9 GMAC at 224 px.

    ``decoder_widths`` are the decoder's channels at strides 16, 8, 4, 2 and 1.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    about: ClassVar[str] = "design by us after Yang et al. (2017), no reproduction"

    kind: Literal["multitask"] = "multitask"
    backbone: BackboneName = "googlenet"
    decoder_widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (
        256, 128, 64, 32, 16,
    )  # fmt: skip

    def build(
        self, labels: tuple[str, ...], tasks: tuple[str, ...], image_size: int, weights: Weights
    ) -> System:
        """The system, its encoder initialised with ``weights`` (see `build_encoder`).

        Its labels are the data set's ``tasks``, such as (MEL, SBK) on ISIC 2017, or all ``labels``
        if these lack one of the tasks.
        """
        questions = headline_tasks(tasks, labels)
        encoder = build_encoder(self.backbone, weights, head=True)
        net = MultiTaskNet(encoder, len(questions), self.decoder_widths)
        return System(
            "multitask",
            (Node("net", net, (IMAGE,), ("logits", "mask_logits")),),
            questions,
            tasks,
            image_size,
            OutputSpec("logits", "mask_logits", exclusive=False),
        )

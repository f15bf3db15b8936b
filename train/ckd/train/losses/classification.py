"""Losses of labels: cross-entropy and focal loss if labels exclude each other, else binary ones.

Suffixes: B batch, K labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, NonNegativeFloat
from torch import Tensor

from ckd.train.losses.term import ClassCounts, OutputTerm
from ckd.train.settings import STRICT, Fraction


def class_weights(counts_K: Sequence[int]) -> tuple[float, ...]:
    """100 / training images of the label, as in CKDNet's code; 0 for a label without images."""
    return tuple(100.0 / count if count else 0.0 for count in counts_K)


def weighted_cross_entropy(
    logits_BK: Tensor,
    labels_B: Tensor,
    weights_K: Sequence[float],
    form: Literal["code", "paper"] = "code",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Class-weighted cross-entropy.

    "code" (PyTorch's weighted mean) divides by the sum of the batch's weights, so that a common
    factor of the weights cancels. "paper" (CKDNet, Eq. 5) divides by the number of images.
    """
    weight = torch.tensor(weights_K, dtype=torch.float32, device=logits_BK.device)
    reduction = "mean" if form == "code" else "sum"
    loss = F.cross_entropy(
        logits_BK.float(), labels_B, weight, reduction=reduction, label_smoothing=label_smoothing
    )
    return loss if form == "code" else loss / len(labels_B)


def softmax_focal(logits_BK: Tensor, labels_B: Tensor, gamma: float = 2.0) -> Tensor:
    """Mean of -(1 - p)^gamma log p without alpha (Lin et al. 2017); p is the true label's."""
    log_p_B = F.log_softmax(logits_BK.float(), dim=1).gather(1, labels_B[:, None])[:, 0]
    return (-((1.0 - log_p_B.exp()) ** gamma) * log_p_B).mean()


def positive_weights(classes: ClassCounts) -> tuple[float, ...]:
    """Negatives / positives of each label; 0 for a label without images."""
    return tuple((classes.total - n) / n if n else 0.0 for n in classes.per_label)


def binary_cross_entropy(logits_BK: Tensor, labels_B: Tensor, classes: ClassCounts) -> Tensor:
    """Sum over the labels of the mean binary cross-entropy. An image of no label has index K.

    The positives of a label weigh as much as its negatives together, see `positive_weights`.
    """
    num_labels = logits_BK.shape[1]
    truth_BK = F.one_hot(labels_B, num_labels + 1)[:, :num_labels].float()
    loss_BK = F.binary_cross_entropy_with_logits(
        logits_BK.float(), truth_BK, reduction="none",
        pos_weight=torch.tensor(positive_weights(classes), device=logits_BK.device),
    )  # fmt: skip
    return loss_BK.mean(dim=0).sum()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLoss(OutputTerm):
    """Cross-entropy or focal loss over exclusive labels; only upright views count."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[Literal["label"]] = "label"

    kind: Literal["label"] = "label"
    name: str = "label"
    output: str
    weight: NonNegativeFloat = 1.0
    focal: bool = False
    class_weighted: bool = True  # of cross-entropy
    form: Literal["code", "paper"] = "code"
    label_smoothing: Fraction = 0.0

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], classes: ClassCounts
    ) -> Tensor:
        """The loss in float32 of a batch with ``label`` [B]."""
        logits_BK, labels_B = _upright(tensors[self.output], batch)
        if self.focal:
            return softmax_focal(logits_BK, labels_B)
        weights_K = class_weights(classes.per_label)
        if not self.class_weighted:
            weights_K = (1.0,) * len(weights_K)
        return weighted_cross_entropy(
            logits_BK, labels_B, weights_K, self.form, self.label_smoothing
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryLoss(OutputTerm):
    """`binary_cross_entropy` of labels that do not exclude each other; only upright views count."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    needs: ClassVar[Literal["label"]] = "label"

    kind: Literal["binary"] = "binary"
    name: str = "label"
    output: str
    weight: NonNegativeFloat = 1.0

    def __call__(
        self, tensors: Mapping[str, Tensor], batch: Mapping[str, Tensor], classes: ClassCounts
    ) -> Tensor:
        """The loss in float32 of a batch with ``label`` [B]; K stands for an image of no label."""
        logits_BK, labels_B = _upright(tensors[self.output], batch)
        return binary_cross_entropy(logits_BK, labels_B, classes)


def _upright(logits_BK: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits and labels of the views that are not turned, so that each label counts once."""
    upright_B = batch["turn"] == 0
    return logits_BK[upright_B], batch["label"][upright_B]

"""How one or several networks are trained, as typed data. The defaults are those of CKDNet."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)

from ckd.train.feeding.augmentation import Augmentation
from ckd.train.losses import Loss
from ckd.train.settings import STRICT, Fraction, StageName

_MONITORS = {
    "mask": ("jaccard", "pixel_accuracy"),
    "label": ("mean_auc", "accuracy", "balanced_accuracy", "label_loss"),
}
#: Figure for stages that train both masks and labels: mean of Jaccard and mean AUC.
_JOINT_MONITOR = "jaccard_and_auc"
#: What NumPy takes as a seed.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
#: Figures of validation for which lower is better.
LOWER_IS_BETTER = ("label_loss",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How the learning rate changes over time.

    Attributes:
        kind: "constant"; "plateau": the rate is multiplied by ``factor`` after ``patience`` epochs
            without improvement, but not below ``floor``; "cosine": it rises linearly over the share
            ``warmup`` of all steps, then falls along a half cosine to ``floor``; "poly": it is
            multiplied by (1 - step / steps) ** ``exponent``; "step": it is multiplied by ``factor``
            at each of ``milestones``, which are shares of all steps.
        cumulative: an improvement does not reset the count of epochs without one, as in CKDNet's
            classifier.
        reload_best: each lowering of the rate also goes back to the best weights, as in CKDNet's
            fine segmentation.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    kind: Literal["constant", "plateau", "cosine", "poly", "step"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: PositiveInt = 20
    cumulative: bool = False
    reload_best: bool = False
    floor: NonNegativeFloat = 1e-8
    warmup: Fraction = 0.05
    exponent: PositiveFloat = 0.96
    milestones: tuple[Fraction, ...] = (0.5, 0.75)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Training of one or several networks, while all networks upstream of them are frozen.

    Attributes:
        nodes: names of the networks that are trained.
        batch_size: of one process; several processes multiply it.
        accumulate: number of batches whose gradients are *summed* for a step, as in the authors'
            code.
        optimizer: "sgd" has a momentum of 0.9; "adamw" decays weights apart from the gradient.
        mixup: alpha of the Beta law by which pairs of a batch's images are mixed (Zhang et al.
            2018), 0 to leave them alone. Only losses that need no truth of the images allow it.
        select: keep the epoch that is best on the validation images by ``monitor``, or the last
            one.
        stop_after: end the stage after this many epochs without improvement.
        monitor: figure of the validation images; "jaccard_and_auc" is the mean of Jaccard and mean
            AUC.
        seed: of batches, views, mixing and dropout; that of the recipe if None. The networks start
            from the same weights whatever the seed is.
        start: earlier stage of the same networks, from whose weights this one starts; if None it
            starts from the weights that the system was built with.
        taught_by: earlier stages. They are members: their answers, averaged, are tensors with the
            prefix ``members_`` for the losses (see `ckd.train.systems.members`).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: StageName
    nodes: tuple[str, ...]
    losses: Annotated[tuple[Loss, ...], Field(min_length=1)]
    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: PositiveFloat = 1e-4
    encoder_lr: NonNegativeFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4  # L2 as in Adam, not decoupled
    clip_norm: PositiveFloat | None = 10.0
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    ema_decay: Fraction | None = None
    select: Literal["best", "last"] = "best"
    stop_after: PositiveInt | None = None
    monitor: Literal[
        "jaccard", "pixel_accuracy", "mean_auc", "accuracy", "balanced_accuracy", "label_loss",
        "jaccard_and_auc",
    ] = "jaccard"  # fmt: skip
    mixup: NonNegativeFloat = 0.0
    seed: Seed | None = None
    start: str | None = None
    taught_by: tuple[str, ...] = ()

    @property
    def needs(self) -> frozenset[str]:
        """What a training image must come with: "mask", "label", both or neither."""
        return frozenset(loss.needs for loss in self.losses if loss.needs is not None)

    def tensors(self) -> tuple[str, ...]:
        """The system's tensors that the losses are computed from."""
        return tuple(dict.fromkeys(name for loss in self.losses for name in loss.tensors()))

    def same_networks(self) -> tuple[str, ...]:
        """Earlier stages whose weights are taken, so that they must be of the same networks."""
        return () if self.start is None else (self.start,)

    def rests_on(self) -> tuple[str, ...]:
        """Earlier stages whose weights matter beside those of the networks that are run."""
        return (*self.same_networks(), *self.taught_by)

    def __post_init__(self) -> None:
        if self.schedule.kind == "plateau" and self.select == "last":
            raise ValueError(
                f"stage {self.name}: a plateau schedule goes by validation scores, and with "
                "select='last' there are none; choose another schedule or select='best'"
            )
        if self.schedule.reload_best and self.ema_decay is not None:
            raise ValueError(
                f"stage {self.name}: reload_best goes back to weights that were never averaged; "
                "use it without ema_decay"
            )
        if self.stop_after is not None and self.select == "last":
            raise ValueError(
                f"stage {self.name}: stop_after goes by validation scores, and with select='last' "
                "there are none"
            )
        known = [monitor for need in sorted(self.needs) for monitor in _MONITORS[need]]
        if set(_MONITORS) <= self.needs:
            known.append(_JOINT_MONITOR)
        if self.monitor not in known and (known or self.select == "best"):
            raise ValueError(
                f"stage {self.name}: monitor {self.monitor!r} does not score what is trained; "
                f"expected {' or '.join(known) or 'select=last, as its losses need no truth'}"
            )
        names = [loss.name for loss in self.losses]
        if len(set(names)) < len(names):
            raise ValueError(
                f"stage {self.name}: two losses are named {max(names, key=names.count)}"
            )
        if self.mixup and self.needs:
            raise ValueError(
                f"stage {self.name}: mixed images have no {' or '.join(sorted(self.needs))} of "
                "their own, which its losses need; set mixup to 0 or learn from a teacher alone"
            )
        several_views = self.augmentation.turned_views or self.augmentation.crop_scales
        if several_views and "mask" in self.needs:
            raise ValueError(
                f"stage {self.name}: crop_scales and turned_views make views without masks, which "
                "its losses need"
            )
        if self.augmentation.turned_views and self.augmentation.crop_scales:
            raise ValueError(f"stage {self.name}: choose crop_scales or turned_views, not both")

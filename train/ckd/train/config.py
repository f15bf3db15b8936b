"""A training run as typed data. Defaults are CKDNet's; a recipe changes what it must.

Everything is frozen; `ckd-train fit --set stages.cls.epochs=40` makes a changed copy, which is
validated like the original and saved beside the results.
"""

import contextlib
import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from ckd.contract.errors import UsageError
from ckd.train.losses import Form
from ckd.train.systems.ckdnet import CkdNet, Fraction

#: A misspelt setting in a file is an error, not a default; so is a number that is none.
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

_MONITORS = {"mask": ("jaccard", "pixel_accuracy"), "label": ("mean_auc", "accuracy")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of one training image; ranges are symmetric unless given as (low, high).

    ``colour``: "one_of_seven" is CKDNet's choice among seven jitters, "strong" additionally shifts
    white balance, gamma and sharpness, for robustness against other cameras. ``crop_scales`` are
    CKDNet's multi-scale views for the classifier: beside one view of the whole photograph, which
    then is left as it is, each gives a view of a random crop of that fraction of it, augmented.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    flip: bool = True
    rotate_deg: NonNegativeFloat = 180.0
    shear_deg: NonNegativeFloat = 10.0
    scale: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.3)
    shift: tuple[float, float] = (0.01, 0.10)  # of width, of height
    colour: Literal["none", "one_of_seven", "strong"] = "one_of_seven"
    crop_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    crop_margin_px: NonNegativeInt = (
        500  # the crop is taken from a centre that much larger (times its scale)
    )
    official_crop_axes: bool = False  # the authors swap width and height here; for parity runs
    border: Literal["black", "reflect"] = "black"  # what a turned image shows beyond its edge
    mask_rule: Literal["half", "any"] = "half"  # "any": the authors' >0, about a pixel too wide


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How the learning rate moves.

    plateau: times ``factor`` after ``patience`` epochs without improvement, not below ``floor``.
    ``cumulative`` counts bad epochs without forgetting them at an improvement, as CKDNet's
    classifier does; ``reload_best`` goes back to the best weights at each step, as its fine
    segmentation does. cosine: linear warm-up over ``warmup`` of all steps, then a half cosine
    down to ``floor``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    kind: Literal["constant", "plateau", "cosine"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: PositiveInt = 20
    cumulative: bool = False
    reload_best: bool = False
    floor: NonNegativeFloat = 1e-8
    warmup: Fraction = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One network's training: everything upstream of ``nodes`` is frozen.

    ``batch_size`` is that of one process; several multiply it. Gradients of ``accumulate`` batches
    are *summed*, as in the authors' code. ``select`` keeps the epoch that is best on the validation
    images by ``monitor``, or the last one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    nodes: tuple[str, ...]
    output: str
    target: Literal["mask", "label"]
    epochs: PositiveInt
    batch_size: PositiveInt
    accumulate: PositiveInt = 1
    lr: PositiveFloat = 1e-4
    encoder_lr: NonNegativeFloat = 1e-4
    weight_decay: NonNegativeFloat = 1e-4  # L2 as in Adam, not decoupled
    clip_norm: PositiveFloat | None = 10.0
    schedule: Schedule = field(default_factory=Schedule)
    augmentation: Augmentation = field(default_factory=Augmentation)
    form: Form = "code"
    focal_weight: NonNegativeFloat = 1.0
    label_smoothing: Fraction = 0.0
    ema_decay: Fraction | None = None
    select: Literal["best", "last"] = "best"
    monitor: Literal["jaccard", "pixel_accuracy", "mean_auc", "accuracy"] = "jaccard"

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
        if self.monitor not in _MONITORS[self.target]:
            raise ValueError(
                f"stage {self.name}: monitor {self.monitor!r} does not score a {self.target}; "
                f"expected {' or '.join(_MONITORS[self.target])}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training run: system, stages in order, and what they share."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    system: CkdNet
    image_size: Annotated[int, Field(ge=32, multiple_of=32)]  # the encoders halve it five times
    stages: tuple[Stage, ...]
    tasks: tuple[str, ...] = ("MEL", "SBK")  # of the mean AUC; all labels where one is missing
    seed: NonNegativeInt = 6666
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    mask_threshold: Literal["half", "chosen_on_train"] = "half"  # see ckd.train.operating_point

    def __post_init__(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages are named {max(names, key=names.count)}")

    def stage(self, name: str) -> Stage:
        """The stage of that name; `UsageError` lists the names there are."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        known = ", ".join(stage.name for stage in self.stages)
        raise UsageError(f"recipe {self.name} has no stage {name!r}; expected all, {known}")

    def save(self, path: Path) -> None:
        """Write every setting as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def load_recipe(path: Path) -> Recipe:
    """Read what `Recipe.save` wrote; `UsageError` says what in the file is wrong."""
    try:
        tree = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not JSON ({error})") from error
    return _validated(tree, str(path))


def with_overrides(recipe: Recipe, overrides: list[str]) -> Recipe:
    """A copy with ``a.b.c=value`` settings applied; stages are addressed by their name.

    Raises:
        UsageError: an unknown setting (with the nearest known one) or a value that does not fit.
    """
    tree: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set {override}: expected NAME=VALUE")
        *parents, leaf = path.split(".")
        branch: Any = tree
        for key in [*parents, leaf][:-1]:
            branch = _child(branch, key, override)
        if isinstance(branch, list) or leaf not in branch:
            raise UsageError(_unknown(override, leaf, _keys(branch)))
        try:
            branch[leaf] = json.loads(text)
        except json.JSONDecodeError:
            branch[leaf] = text
    return _validated(tree, "--set")


def _child(branch: Any, key: str, override: str) -> Any:
    if isinstance(branch, list):
        for child in branch:
            if child["name"] == key:
                return child
    elif isinstance(branch.get(key), dict) or key == "stages":
        return branch[key]
    raise UsageError(_unknown(override, key, _keys(branch)))


def _keys(branch: Any) -> list[str]:
    return [item["name"] for item in branch] if isinstance(branch, list) else list(branch)


def _unknown(override: str, key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    return f"--set {override}: unknown setting {key!r}; {hint}"


def _validated(tree: Any, where: str) -> Recipe:
    try:
        return TypeAdapter(Recipe).validate_python(tree)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(_address(tree, first["loc"]))
        got = "" if first["type"] == "value_error" else f", got {first['input']!r}"
        raise UsageError(f"{where}: {place}: {first['msg']}{got}") from error


def _address(tree: Any, place: Sequence[int | str]) -> list[str]:
    """A setting's place as `--set` takes it: a stage by its name, if it has one."""
    parts = [str(part) for part in place]
    if parts[:1] == ["stages"] and len(parts) > 1:
        with contextlib.suppress(KeyError, TypeError):
            parts[1] = str(tree["stages"][place[1]]["name"])
    return parts

"""Names of encoders as settings of a system, checked when a recipe is read.

Whether timm's network of a name can be cut is known only once it is built.
"""

from functools import partial
from typing import Annotated, get_args

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from ckd.contract.errors import UsageError
from ckd.train.networks.encoder import AnyBackbone, Backbone, check_backbone


def known_backbone(torchvisions: tuple[str, ...], name: str) -> str:
    """The name, if it is one of torchvision's given encoders or of timm's networks."""
    if name in torchvisions:
        return name
    try:
        check_backbone(name, torchvisions)
    except UsageError as error:
        raise PydanticCustomError("unknown_backbone", str(error)) from error
    return name


#: An encoder whose maps have the strides 2 to 32: of `Backbone`, or of timm.
BackboneName = Annotated[str, AfterValidator(partial(known_backbone, get_args(Backbone)))]
#: One of these, or torchvision's Inception V3.
AnyBackboneName = Annotated[str, AfterValidator(partial(known_backbone, get_args(AnyBackbone)))]
#: One of `BackboneName`, or CLNet's plain "unet".
UNetOrBackboneName = Annotated[
    str, AfterValidator(partial(known_backbone, (*get_args(Backbone), "unet")))
]

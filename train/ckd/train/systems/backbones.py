"""Names of encoders as settings of a system, checked when a recipe is read.

Whether timm's network of a name can be cut is known only once it is built.
"""

from collections.abc import Callable
from typing import Annotated, get_args

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from ckd.contract.errors import UsageError
from ckd.train.networks.encoder import AnyBackbone, Backbone, check_backbone


def _one_of(*torchvisions: str) -> Callable[[str], str]:
    def check(name: str) -> str:
        try:
            check_backbone(name, torchvisions)
        except UsageError as error:
            raise PydanticCustomError("unknown_backbone", str(error)) from error
        return name

    return check


#: An encoder whose maps have the strides 2 to 32: of `Backbone`, or of timm.
BackboneName = Annotated[str, AfterValidator(_one_of(*get_args(Backbone)))]
#: One of these, or torchvision's Inception V3.
AnyBackboneName = Annotated[str, AfterValidator(_one_of(*get_args(AnyBackbone)))]
#: One of `BackboneName`, or CLNet's plain "unet".
UNetOrBackboneName = Annotated[str, AfterValidator(_one_of(*get_args(Backbone), "unet"))]

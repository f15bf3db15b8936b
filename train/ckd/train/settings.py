"""Types and checks that all settings of a recipe share."""

from typing import Annotated

from pydantic import ConfigDict, Field

#: A misspelt setting in a file is an error, and so is infinity or nan for a number.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0, lt=1)]

"""What all settings of a recipe share."""

from typing import Annotated

from pydantic import ConfigDict, Field

#: A misspelt setting in a file is an error, not a default; so is a number that is none.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Fraction = Annotated[float, Field(ge=0, lt=1)]

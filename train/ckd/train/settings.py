"""Types and checks that all settings of a recipe share."""

from typing import Annotated

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

#: A misspelt setting in a file is an error, and so is infinity or nan for a number.
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

#: Names of folders that a run has beside those of its stages.
_TAKEN = ("evaluate", "evaluation", "explain")


def _is_free(name: str) -> str:
    if name.lower() in _TAKEN:
        raise ValueError(f"a run has a folder {name} of its own; choose another name")
    return name


#: The name of a stage, which is also that of its folder in a run.
StageName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"), AfterValidator(_is_free)
]
Fraction = Annotated[float, Field(ge=0, lt=1)]

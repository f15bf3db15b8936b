"""All errors of `ckd`, as one tree; an application that embeds `ckd` catches `CkdError`.

    CkdError
    ├── UsageError            a command or call that cannot be carried out as written
    ├── InputError            an image, mask, data or run folder that cannot be used
    ├── EngineError           a sub-network that cannot be loaded or fails while running
    ├── EnvironmentUnusable   this machine lacks something: a backend, a device, an OpenCV feature
    ├── GateFailed            a check that guards a release did not pass
    ├── BundleError           a bundle that is incomplete, altered or not understood
    ├── SourceUnavailable     a camera, stream or video that cannot be opened or has gone
    └── Interrupted           long work that was stopped and can be taken up again

Libraries raise these errors, and only the command lines print them. Each class has the exit code
with which a command ends.
"""

from typing import ClassVar


class CkdError(Exception):
    """Base of everything that `ckd` raises on purpose; its message can be shown to a user."""

    exit_code: ClassVar[int] = 1


class UsageError(CkdError):
    """The request is wrong: it has an unknown name, or flags that contradict each other."""

    exit_code = 2


class InputError(CkdError):
    """An image, mask, data set or run is missing or unusable; the message says what to do."""


class EngineError(CkdError):
    """An inference engine refused to load or failed while running; the cause is chained."""


class EnvironmentUnusable(CkdError):
    """The machine lacks something that is needed; the message says what to install."""

    exit_code = 3


class GateFailed(CkdError):
    """A parity, acceptance or budget check failed, or a replay differs from what was recorded."""

    exit_code = 4


class BundleError(CkdError):
    """A bundle is missing a part, was altered since it was made, or has an unknown schema."""

    exit_code = 5


class SourceUnavailable(CkdError):
    """A camera, stream or video file cannot be opened, or stopped delivering frames."""

    exit_code = 6


class Interrupted(CkdError):
    """Long work was stopped from outside; its results are kept, the message says how to go on."""

    exit_code = 130

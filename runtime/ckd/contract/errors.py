"""What can go wrong, as one tree; an application that embeds `ckd` catches `CkdError`.

    CkdError
    ├── UsageError            a command or call that cannot be carried out as written
    ├── InputError            an image, mask, data or run folder that cannot be used
    ├── EngineError           a sub-network that cannot be loaded or fails while running
    ├── EnvironmentUnusable   this machine lacks something: a backend, a device, an OpenCV feature
    ├── GateFailed            a check that guards a release did not pass
    ├── BundleError           a bundle that is incomplete, altered or not understood
    ├── SourceUnavailable     a camera, stream or video that cannot be opened or has gone
    └── Interrupted           long work that was stopped and can be taken up again

Libraries raise, only the command lines print. Each class carries the exit code its command ends
with, so the table in the documentation and the code cannot disagree.
"""

from typing import ClassVar


class CkdError(Exception):
    """Base of everything `ckd` raises on purpose; the message is fit to be shown to a user."""

    exit_code: ClassVar[int] = 1


class UsageError(CkdError):
    """The request itself is wrong: an unknown name, flags that contradict each other."""

    exit_code = 2


class InputError(CkdError):
    """An image, mask, data set or run is missing or unusable; the message says what to do."""


class EngineError(CkdError):
    """An inference engine refused to load or failed while running; the cause is chained."""


class EnvironmentUnusable(CkdError):
    """The machine lacks what was asked for; the message says what to install."""

    exit_code = 3


class GateFailed(CkdError):
    """A parity, acceptance or budget check failed; nothing was released."""

    exit_code = 4


class BundleError(CkdError):
    """A bundle is missing a part, was altered since it was made, or has an unknown schema."""

    exit_code = 5


class SourceUnavailable(CkdError):
    """A camera, stream or video file cannot be opened, or stopped delivering frames."""

    exit_code = 6


class Interrupted(CkdError):
    """Long work was stopped from outside; what was done is kept, the message says how to go on."""

    exit_code = 130

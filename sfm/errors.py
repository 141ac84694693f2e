"""The exceptions of sfm.

    SfmError                        everything sfm raises on purpose
    ├── InputError                  a file or argument is not what it must be
    ├── MissingDependencyError      an optional package is needed
    ├── NotEnoughTracksError        the frames share too few tracks to start
    ├── NoSolutionError             the method ran and found nothing it can stand by
    └── BelowGateError              it found less than was asked for; the result is kept

Every message is one line that says what, where and what to do. Partial results are returned, never raised:
an unregistered frame is a mask in the `Reconstruction`.
"""

import json
import sys
from importlib import import_module


class SfmError(Exception):
    """Base of every exception raised on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 1


class InputError(SfmError):
    """A file, folder or argument is not what it must be."""

    exit_code = 3


class UsageError(InputError):
    """Arguments contradict each other or would destroy something."""

    exit_code = 2


class MissingDependencyError(SfmError):
    """An optional package is needed."""

    exit_code = 2

    def __init__(self, package: str, extra: str, purpose: str):
        # by package, not as sfm[extra]: the package index has another project of that name
        wanted = " ".join(package.replace(",", " ").replace(" and ", " ").split())
        super().__init__(f"{purpose} needs {package}, of the extra [{extra}]: {sys.executable} -m pip install {wanted}")


def require(module: str, package: str, extra: str, purpose: str) -> None:
    """Raise `MissingDependencyError` where a module cannot be imported."""
    try:
        import_module(module)
    except ImportError as error:
        raise MissingDependencyError(package, extra, purpose) from error


class NotEnoughTracksError(SfmError):
    """The frames share too few tracks to start a reconstruction."""

    exit_code = 4


class NoSolutionError(SfmError):
    """The method ran and found nothing it can stand by."""

    exit_code = 4


class BelowGateError(SfmError):
    """A result is there, and kept, but its verdict is worse than was asked for."""

    exit_code = 5


def reason(error: Exception) -> str:
    """What was wrong with a file, in few words."""
    if isinstance(error, KeyError):
        return f"no {str(error.args[0]).split(' ')[0]!r}"  # NumPy: 'depth is not a file in the archive'
    if isinstance(error, json.JSONDecodeError):
        return "not JSON"
    if isinstance(error, TypeError | IndexError):
        return "its entries are not of the form they must have"
    return " ".join((getattr(error, "strerror", None) or str(error)).split())

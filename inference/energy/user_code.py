"""Whose code is running: the user's, or that of a library; and warnings that point at the user's line."""

import sys
import warnings
from types import FrameType

__all__ = ["INFERENCE", "PACKAGE", "is_user_module", "warn_caller"]

PACKAGE = __name__.partition(".")[0]
INFERENCE = f"{PACKAGE}.inference"
LIBRARIES = ("torch", "pyro", "numpy", INFERENCE)
"""Their lines tell a user nothing; programs that come with this package count as a user's."""


def is_user_module(name: str) -> bool:
    """Neither one of the libraries nor one of Python's own.

    Example:
        >>> is_user_module("my_model"), is_user_module("torch.nn.functional"), is_user_module("contextlib")
        (True, False, False)
    """
    of_library = any(name == library or name.startswith(f"{library}.") for library in LIBRARIES)
    return not of_library and name.partition(".")[0] not in sys.stdlib_module_names


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line of the user's that has called into this package, however deep in it something was found."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and not _is_outside(frame):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=2 if frame is None else level)


def _is_outside(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__", "")
    return is_user_module(name) and name.partition(".")[0] != PACKAGE

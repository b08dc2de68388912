"""Where in the user's own files something happens that no graph can hold: ``model.py:12``."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any

__all__ = ["is_user_module", "line_of_error", "user_line"]

OWN = ".".join(__name__.split(".")[:2])
LIBRARIES = ("torch", "pyro", "numpy", OWN)
"""Their lines tell a user nothing; programs that come with this package count as a user's."""
Place = tuple[CodeType, str, int]


def user_line(frame: FrameType | None = None) -> str:
    """The deepest line of the user's that is running; of this package's inference where there is none.

    Args:
        frame: where it runs; here without.
    """
    frame = sys._getframe(1) if frame is None else frame
    places: list[Place] = []
    while frame is not None and frame.f_code.co_name != "capture":
        places.append((frame.f_code, frame.f_globals.get("__name__", ""), frame.f_lineno))
        frame = frame.f_back
    return _deepest(places)


def line_of_error(error: BaseException) -> str:
    """The deepest line of the user's through which an error has come."""
    places: list[Place] = []
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        places.append((trace.tb_frame.f_code, trace.tb_frame.f_globals.get("__name__", ""), trace.tb_lineno))
        trace = trace.tb_next
    return _deepest(reversed(places))


def is_user_module(name: str) -> bool:
    """Neither one of the libraries nor one of Python's own.

    Example:
        >>> is_user_module("my_model"), is_user_module("torch.nn.functional"), is_user_module("contextlib")
        (True, False, False)
    """
    root = name.partition(".")[0]
    return not (_is_of(name, LIBRARIES) or root in sys.stdlib_module_names)


def _deepest(places: Iterable[Place]) -> str:
    """Of places from the deepest on."""
    ours = None
    for code, name, line in places:
        if is_user_module(name):
            return f"{Path(code.co_filename).name}:{line}"
        if ours is None and _is_of(name, [OWN]) and ".compiled" not in name:
            ours = f"{name.rpartition('.')[2]}.py:{line} of this package"
    return ours or "the program"


def _is_of(name: str, packages: Any) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)

"""Where in the user's own files something happens that no graph can hold: ``model.py:12``."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import CodeType, FrameType, TracebackType

from ...energy.user_code import INFERENCE, is_user_module

__all__ = ["line_of_error", "user_line"]

Place = tuple[CodeType, str, int]


def user_line(frame: FrameType | None = None) -> str:
    """The deepest line of the user's that is running; of this package's inference where there is none.

    Args:
        frame: where it runs; here without.
    """
    frame = sys._getframe(1) if frame is None else frame
    places: list[Place] = []
    while frame is not None and not _is_capture(frame):
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


def _is_capture(frame: FrameType) -> bool:
    """Beyond it is who trains, whose lines are not the program's."""
    return frame.f_code.co_name == "capture" and frame.f_globals.get("__name__") == f"{__package__}.capture"


def _deepest(places: Iterable[Place]) -> str:
    """Of places from the deepest on."""
    ours = None
    for code, name, line in places:
        if is_user_module(name) and not (code.co_filename == "<string>" and name != "__main__"):
            return f"{Path(code.co_filename).name}:{line}"
        if ours is None and name.startswith(f"{INFERENCE}.") and ".compiled" not in name:
            ours = f"{name.rpartition('.')[2]}.py:{line} of this package"
    return ours or "the program"

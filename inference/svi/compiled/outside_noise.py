"""Random numbers that are not torch's, as numpy's: a graph would have those of its tracing for ever."""

import gc
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from ...energy.user_code import is_user_module
from .not_traceable import NotTraceable

__all__ = ["OutsideNoise", "without_outside_noise"]

KINDS = (random.Random, np.random.Generator, np.random.RandomState)


@contextmanager
def without_outside_noise(run: Callable[[], Any]) -> Iterator[None]:
    """A block in which nothing draws from another generator than torch's.

    Args:
        run: does once more what the block does, to see where that is.

    Raises:
        NotTraceable: after the block, if something has drawn, with the line.
    """
    noise = OutsideNoise()
    yield
    if whose := noise.moved():
        raise NotTraceable(
            f"{noise.line_of_draw(run)} draws from {whose}, of which a graph has the numbers of its tracing for ever: "
            "draw by torch, or by pyro.sample"
        )


class OutsideNoise:
    """The generators of Python and numpy that there are, with the states that they are in."""

    def __init__(self) -> None:
        self.generators: list[Any] = [one for one in gc.get_objects() if type(one) in KINDS]
        self.states = self._now()

    def moved(self) -> str:
        """Whose generator has been drawn from since; empty if none."""
        for name, before, now in zip(self._names(), self.states, self._now(), strict=True):
            if before != now:
                return name
        return ""

    def line_of_draw(self, run: Callable[[], Any]) -> str:
        """The user's line at which ``run``, which is known to draw, does so for the first time."""
        self.states = self._now()
        last, found = "the program", list[str]()

        def at_line(frame: FrameType, event: str, _value: Any) -> Any:
            nonlocal last
            if not found and event != "call" and self.moved():
                found.append(last)
            if event == "line":
                last = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            return at_line

        def at_call(frame: FrameType, _event: str, _value: Any) -> Any:
            watched = not found and is_user_module(frame.f_globals.get("__name__", ""))
            return at_line if watched else None

        tracer = sys.gettrace()
        sys.settrace(at_call)
        try:
            run()
        finally:
            sys.settrace(tracer)
        return found[0] if found else last

    def _names(self) -> list[str]:
        own = ["numpy" if isinstance(one, KINDS[1:]) else "Python's random" for one in self.generators]
        return ["Python's random", "numpy", *own]

    def _now(self) -> list[str]:
        globals_ = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global generator is meant
        return [repr(state) for state in (*globals_, *map(_state, self.generators))]


def _state(generator: Any) -> Any:
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    return generator.get_state() if isinstance(generator, np.random.RandomState) else generator.getstate()

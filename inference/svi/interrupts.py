"""Ctrl-C in a training: noted when it comes, and obeyed between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Interrupts", "noted_interrupts"]


class Interrupts:
    """Whether somebody has pressed Ctrl-C."""

    noted = False

    def obey(self) -> None:
        """Raises KeyboardInterrupt if somebody has."""
        if self.noted:
            raise KeyboardInterrupt


@contextmanager
def noted_interrupts() -> Iterator[Interrupts]:
    """A block in which a first Ctrl-C is noted, and a second is obeyed at once, wherever it finds the program.

    Python raises KeyboardInterrupt between any two of its instructions, and drops it where that is in a destructor or
    a callback of the garbage collector: a training would then go on. Outside the main thread nothing is changed.
    """
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield found
        return

    def note(number: int, frame: Any) -> None:
        if found.noted and callable(before):
            before(number, frame)
        found.noted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)

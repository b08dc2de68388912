"""A bar on the terminal: epoch, loss, learning rate, time left."""

import time
from types import TracebackType
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how far a training is; a context manager that does nothing where ``show`` is False.

    Args:
        show: draw the bar, on standard error.
        total: steps of the whole training; None where nobody knows.
        done: steps done before.
    """

    INTERVAL = 0.25
    """Seconds between two updates, so that steps of microseconds are not slowed down by it."""

    def __init__(self, show: bool, total: int | None, done: int = 0) -> None:
        self.show, self.total, self.done = show, total, done
        self.next = 0.0
        self.bar: Any = None

    def __enter__(self) -> "ProgressBar":
        if self.show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("loss {task.fields[loss]:.4f}  rate {task.fields[rate]:.2e}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                refresh_per_second=4,
            )
            self.task = self.bar.add_task(
                "", total=self.total, completed=self.done, epoch=0, loss=float("nan"), rate=0.0
            )
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def update(self, step: int, epoch: int, loss: float, rate: float) -> None:
        """Show the state after ``step`` steps, if the last one shown is old enough."""
        if self.bar is not None and (time.monotonic() >= self.next or step == self.total):
            self.next = time.monotonic() + self.INTERVAL
            self.bar.update(self.task, completed=step, epoch=epoch, loss=loss, rate=rate)

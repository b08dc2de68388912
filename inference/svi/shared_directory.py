"""The directory of a run that several processes have: the first reads and writes, and tells the others."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .pair import Weights
from .processes import Processes
from .run import Length, Row, RunDirectory, open_directory

__all__ = ["SharedDirectory", "open_shared"]


class SharedDirectory(RunDirectory):
    """A directory of which every process has one, and of which only that of the first touches the files.

    An error of the first is raised in all. See ``RunDirectory`` for what the methods do.

    Args:
        processes: who has it.
        own: the directory, in the first process; elsewhere None.
    """

    def __init__(self, processes: Processes, own: RunDirectory | None) -> None:
        self.processes, self.own = processes, own
        path, self._seed = processes.told(lambda: (str(self._own.path), self._own.seed))
        self.path = Path(path)

    @property
    def seed(self) -> int | None:
        """The seed of the run in the folder."""
        return self._seed

    @property
    def complete(self) -> bool:
        """Everything that a finished run has is there."""
        return self.processes.told(lambda: self._own.complete)

    def describe(self, arguments: dict[str, Any], settings: Mapping[str, Any] | None, length: Length) -> None:
        """Say what the run is made of, and how long it is to be."""
        self.processes.told(lambda: self._own.describe(arguments, settings, length))

    def load(self, uses_progress: bool) -> dict[str, Any] | None:
        """The newest checkpoint, or None where there is none yet."""
        return self.processes.told(lambda: self._own.load(uses_progress))

    def open(self, epoch: int) -> None:
        """Begin to write, with ``epoch`` epochs done."""
        self.processes.told(lambda: self._own.open(epoch))

    def save(self, epoch: int, history: list[Row], state: dict[str, Any]) -> None:
        """Write metrics, then the checkpoint."""
        self.processes.told(lambda: self._own.save(epoch, history, state))

    def finish(self, weights: Weights, summary: dict[str, Any]) -> None:
        """Write the weights and the summary."""
        self.processes.told(lambda: self._own.finish(weights, summary))

    def close(self) -> None:
        """Close what is open; this one waits for nobody, since others may have ended."""
        if self.own is not None:
            self.own.close()

    @property
    def _own(self) -> RunDirectory:
        assert self.own is not None
        return self.own


def open_shared(processes: Processes, out: str | Path | None, resume: bool) -> RunDirectory | None:
    """What ``open_directory`` gives, of which the first process alone looks at the folder."""
    if processes.count == 1:
        return open_directory(out, resume)
    found: list[RunDirectory | None] = []
    exists = processes.told(lambda: found.append(open_directory(out, resume)) or found[0] is not None)
    return SharedDirectory(processes, found[0] if found else None) if exists else None

"""Trainings of cases in processes of their own, and what became of each, a process that ends by a signal included."""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

from .exactness import LOSSES, PARAMETERS

__all__ = ["Cell", "Found", "Setting", "environment", "found_apart", "in_parallel", "widths_here"]

SECONDS = 900
"""That a process may take for each of its cells."""


class Cell(NamedTuple):
    """A case, compiled for so many threads."""

    case: str
    threads: int


class Setting(NamedTuple):
    """What all cells of a process share: the width of vectors, how many steps are taken, and its environment."""

    width: str
    steps: int
    environment: Mapping[str, str]


class Found(NamedTuple):
    """What became of a cell.

    Attributes:
        engine: how its steps were taken.
        losses: the largest relative difference from plain steps,
        parameters: likewise.
        seconds: of processor time, imports and plain steps included in the first of a process; 0 where it has ended.
        failure: a signal or an error, where it came to no end.
    """

    case: str
    width: str
    threads: int
    steps: int
    engine: str = ""
    losses: float = 0.0
    parameters: float = 0.0
    seconds: float = 0.0
    failure: str = ""

    @property
    def verdict(self) -> str:
        """In few words; "ok" where steps were compiled and are those of plain ones."""
        if self.failure:
            return self.failure
        if not self.engine.startswith("compiled"):
            return f"plain: {self.engine}"
        if self.losses <= LOSSES and self.parameters <= PARAMETERS:
            return "ok"
        return f"off {max(self.losses, self.parameters):.0e}"


def found_apart(
    cells: Iterable[Cell], setting: Setting, ending: Callable[[int | None, str], str] | None = None
) -> Iterator[Found]:
    """What becomes of cells that one process trains in turn; after a crash another goes on behind it.

    Args:
        cells: those of one case next to each other, which then take its plain steps once.
        setting: of the process.
        ending: from an exit status (None: it took too long) and standard error to the failure, by default the signal.
    """
    left = list(cells)
    while left:
        status, out, err = _ran(left, setting)
        lines = [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
        for line in lines:
            cell = left.pop(0)
            yield Found(cell.case, setting.width, cell.threads, setting.steps, **json.loads(line))
        if left:
            cell = left.pop(0)
            failure = (ending or _ending)(status, err)
            yield Found(cell.case, setting.width, cell.threads, setting.steps, failure=failure)


def in_parallel(parts: Sequence[Callable[[], Iterable[Found]]], jobs: int) -> Iterator[Found]:
    """What the parts find, so many of them at a time, in the order in which they find it."""
    waiting: queue.SimpleQueue[Callable[[], Iterable[Found]]] = queue.SimpleQueue()
    results: queue.SimpleQueue[Found | BaseException | None] = queue.SimpleQueue()
    for part in parts:
        waiting.put(part)

    def work() -> None:
        try:
            with suppress(queue.Empty):
                while True:
                    for found in waiting.get_nowait()():
                        results.put(found)
        except BaseException as error:
            results.put(error)
        results.put(None)

    # Daemons, so that an interrupt ends this process at once, and by the end of their inputs all others.
    for _ in range(jobs):
        threading.Thread(target=work, daemon=True).start()
    for _ in range(jobs):
        while (result := results.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result


@contextmanager
def environment(flags: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Variables for processes that share an empty cache of compiled code, and a C++ compiler with more flags.

    The flags come last, and so have the last word.

    Raises:
        FileNotFoundError: there is no C++ compiler.
    """
    command = os.environ.get("CXX", "g++")
    if shutil.which(command.split()[0]) is None:
        raise FileNotFoundError(f"there is no C++ compiler {command!r}; install it, or name another by CXX")
    with tempfile.TemporaryDirectory(prefix="pyrometer-") as folder:
        # Torch tells compilers by their names. What is preloaded into Python is of no use to them.
        compiler = Path(folder) / ("clang++" if "clang" in command else "g++")
        compiler.write_text(f'#!/bin/sh\nunset LD_PRELOAD\nexec {command} "$@" {" ".join(flags)}\n')
        compiler.chmod(0o700)
        kept = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        own = {"TORCHINDUCTOR_CACHE_DIR": f"{folder}/cache", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        yield {**kept, **own, "CXX": str(compiler)}


def widths_here() -> list[str]:
    """The widths of vectors that the processor has, and "none"."""
    capability = torch.backends.cpu.get_cpu_capability()  # the compiler's own list takes trial builds
    widths = {"AVX2": ["256"], "AVX512": ["256", "512"]}.get(capability, [])
    return [*widths, "none"]


def _ran(cells: Sequence[Cell], setting: Setting) -> tuple[int | None, str, str]:
    """The exit status and both outputs; nothing of the process is left."""
    command = [sys.executable, "-m", "pyrometer.benchmarks.case_worker", "--cells", json.dumps(cells)]
    command += ["--width", setting.width, "--steps", str(setting.steps)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=out, stderr=err, env=setting.environment, start_new_session=True
        )
        try:
            status = process.wait(SECONDS * len(cells))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def _ending(status: int | None, err: str) -> str:
    if status is None:
        return f"no end within {SECONDS} s"
    if status < 0:
        return f"crash {signal.Signals(-status).name}"
    last = (err.strip().splitlines() or [""])[-1]
    return f"crash, exit status {status}: {last}"

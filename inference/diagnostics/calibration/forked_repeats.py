"""Repeats of one experiment, here or in forked processes that share what the experiment holds."""

import multiprocessing
import multiprocessing.connection
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from multiprocessing.context import ForkProcess
from typing import Any, NamedTuple, TypeVar

import torch

from ...svi.random_state import preserved_random_state

__all__ = ["repeated"]

T = TypeVar("T")
PATIENCE = 2.0
"""Seconds before a bar is shown."""


def repeated(task: Callable[[int], T], count: int, processes: int) -> list[T]:
    """task(0), ..., task(count - 1), in this order whatever the number of processes.

    Processes are forked, so that the task needs no pickling, and each computes with one thread. What the task returns
    is pickled. A bar on the terminal shows how far it is, where it takes long.

    Raises:
        ValueError: if there are several processes and the system cannot fork.
        RuntimeError: if the task fails in another process, with the number of the repeat and the error's own words; or
            if such a process dies. Here, in the only process, the error itself is raised.
    """
    if processes == 1:
        results = ((index, task(index)) for index in range(count))
    else:
        results = _forked(task, count, min(processes, count))
    with closing(results):  # which ends the processes, whatever happens here
        found = dict(_shown(results, count))
    return [found[index] for index in range(count)]


class _Worker(NamedTuple):
    process: ForkProcess
    receiver: Any


class _Failure(NamedTuple):
    repeat: int
    message: str
    trace: str


def _forked(task: Callable[[int], T], count: int, processes: int) -> Generator[tuple[int, T], None, None]:
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ValueError(f"processes={processes} needs a system that can fork, which {sys.platform} cannot; pass 1.")
    workers: list[_Worker] = []
    try:
        for first in range(processes):
            _start(workers, task, range(first, count, processes))
        yield from _received(workers, count)
    finally:
        for worker in workers:
            _end(worker)


def _start(workers: list[_Worker], task: Callable[[int], Any], indices: range) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    inherited = [worker.receiver for worker in workers] + [receiver]
    process = context.Process(target=_work, args=(task, indices, sender, inherited))
    workers.append(_Worker(process, receiver))
    with warnings.catch_warnings():
        # The child computes with one thread, and waits for none of those that it is copied without.
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        process.start()
    sender.close()  # so that the child's is the last, and its death is seen


def _work(task: Callable[[int], Any], indices: range, sender: Any, inherited: list[Any]) -> None:
    """What a child does: sends (index, result), or the failure that ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for connection in inherited:
        connection.close()  # else a child that is left alone would not notice
    with preserved_random_state():
        torch.set_num_threads(1)
        for index in indices:
            try:
                sender.send((index, task(index)))
            except BrokenPipeError:  # nobody is left to be told
                return
            except Exception as error:  # the task may fail in any way, and the parent raises what it is told
                sender.send(_Failure(index, f"{type(error).__name__}: {error}", traceback.format_exc()))
                return


def _received(workers: list[_Worker], count: int) -> Iterator[tuple[int, Any]]:
    working: dict[Any, ForkProcess] = {worker.receiver: worker.process for worker in workers}
    done = 0
    while done < count:
        ready: Any = multiprocessing.connection.wait(list(working))[0]
        try:
            message = ready.recv()
        except EOFError:
            process = working.pop(ready)
            process.join()
            if process.exitcode == 0 and working:
                continue
            raise RuntimeError(
                f"a process ended after {done} of {count} repeats (exit code {process.exitcode}); if it ran out of "
                f"memory, use fewer processes."
            ) from None
        if isinstance(message, _Failure):
            error = RuntimeError(f"repeat {message.repeat} failed: {message.message}")
            error.add_note(message.trace)
            raise error
        done += 1
        yield message


def _end(worker: _Worker) -> None:
    if worker.process.pid is not None:
        worker.process.terminate()
        worker.process.join()
    worker.receiver.close()


def _shown(results: Iterable[tuple[int, T]], count: int) -> Iterator[tuple[int, T]]:
    """The results as they come, with a bar once they have taken a while and somebody can see it."""
    began, bar, task = time.monotonic(), None, None
    with ExitStack() as stack:
        for done, result in enumerate(results, 1):
            if bar is None and time.monotonic() - began > PATIENCE and sys.stderr.isatty():
                from rich.console import Console
                from rich.progress import Progress

                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("calibrating", total=count)
            if bar is not None and task is not None:
                bar.update(task, completed=done)
            yield result

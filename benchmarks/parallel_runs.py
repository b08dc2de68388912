"""Several trainings side by side in processes of one thread each, and those of the recipe `ssvae`."""

import csv
import json
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from pyrometer.inference.svi import add_to_summary
from pyrometer.recipes.recipe import typed_settings
from pyrometer.recipes.run import run

__all__ = ["Job", "Reached", "cpu_time_noted", "in_processes", "rows_of", "train_all"]

A = TypeVar("A")
B = TypeVar("B")


class Job(NamedTuple):
    """A training: the settings that differ from the recipe's, how long, the folder that it is resumed in, precision."""

    settings: dict[str, Any]
    epochs: int | None
    out: Path
    precision: str = "32-true"


class Reached(NamedTuple):
    """What the final weights of a training reach; ``validation`` is None where nothing was held back for it.

    ``elbo`` is that of 200 test images, in nats an image. ``cpu_seconds`` are those of the process from the reading of
    the data to the last picture; None where it was interrupted and resumed, so that nobody knows.
    """

    test: float
    validation: float | None
    elbo: float
    epochs: int
    seconds: float
    cpu_seconds: float | None = None


def in_processes(function: Callable[[A], B], jobs: Sequence[A], processes: int) -> Iterator[B]:
    """What a function of a module gives for each job, in their order, ``processes`` at a time."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of torch in whatever state they are
    with ProcessPoolExecutor(processes, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(function, jobs)


def rows_of(
    rows: Sequence[tuple[int, int]], wanted: Sequence[int] | None, epochs: int | None, otherwise: int
) -> list[tuple[int, int]]:
    """The rows (kind, epochs) of the wanted kinds, all of them where it is None.

    ``epochs`` is for all of them, in place of their own; a kind that has no row is trained for ``otherwise``.

    Example:
        >>> rows_of([(100, 20), (100, 30), (1000, 20)], [100, 600], None, otherwise=10)
        [(100, 20), (100, 30), (600, 10)]
        >>> rows_of([(100, 20), (100, 30), (1000, 20)], None, epochs=5, otherwise=10)
        [(100, 5), (1000, 5)]
    """
    known = [row for row in rows if wanted is None or row[0] in wanted]
    others = [(kind, otherwise) for kind in wanted or [] if kind not in dict(rows)]
    return list(dict.fromkeys((kind, epochs or own) for kind, own in [*known, *others]))


@contextmanager
def cpu_time_noted(out: Path) -> Iterator[None]:
    """Adds to the summary of the run that the block finishes its CPU seconds; None where it was begun before.

    What the processes took that have been interrupted, nobody knows. A finished run keeps what it has.
    """
    began, is_new = time.process_time(), not (out / "settings.json").exists()
    yield
    if "cpu_seconds" not in json.loads((out / "summary.json").read_text()):
        add_to_summary(out, {"cpu_seconds": time.process_time() - began if is_new else None})


def train_all(jobs: Sequence[Job], processes: int) -> list[Reached]:
    """Trains them all, ``processes`` at a time; what an interrupted call has finished is not done again."""
    reached = []
    for job, one in zip(jobs, in_processes(train, jobs, processes), strict=True):
        print(f"{job.out}: test accuracy {one.test:.4f} after {one.epochs} epochs, {one.seconds:.0f} s", flush=True)
        reached.append(one)
    return reached


def train(job: Job) -> Reached:
    """One training, or what is left of it; of a finished one with the same settings, what its folder says."""
    done = _finished(job)
    if done is not None:
        return done
    how: dict[str, Any] = {"epochs": job.epochs, "precision": job.precision, "resume": True, "progress": False}
    with cpu_time_noted(job.out):
        run("ssvae", job.settings, job.out, **how)
    done = _finished(job)
    assert done is not None
    return done


def _finished(job: Job) -> Reached | None:
    summary_file, settings_file = job.out / "summary.json", job.out / "settings.json"
    if not summary_file.exists():
        return None
    summary, stored = json.loads(summary_file.read_text()), json.loads(settings_file.read_text())
    same = stored["settings"] == {"recipe": "ssvae", **typed_settings("ssvae", job.settings)}
    same &= stored["fit"]["precision"] == job.precision
    if "test_accuracy" not in summary or not same or job.epochs not in (None, summary["epochs"]):
        return None
    with (job.out / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    validation = last.get("validation_accuracy")
    accuracy = None if validation is None else float(validation)
    reached = (summary["test_accuracy"], accuracy, summary["elbo"], summary["epochs"], summary["seconds"])
    return Reached(*reached, summary.get("cpu_seconds"))

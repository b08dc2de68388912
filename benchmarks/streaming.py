"""Data larger than memory: a memory-mapped file streams through a DataLoader into a training, at bounded memory.

`python -m benchmarks.streaming` writes its table into docs/results.md. The file is sparse: it takes no room on the
disk, and every page of it is read. Pages of a mapped file are the system's to drop; what a process holds of its own is
anonymous memory. Linux alone says which is which. Exits with 1 where that grows by more than a tenth of a gigabyte.
"""

import argparse
import functools
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from pyrometer import fit

from .results_page import PAGE, provenance, table, write_block

__all__ = ["Mapped", "Memory", "Watch", "main", "stream"]

COLUMNS = 256
ROWS = 4096
"""Of a batch: 4 megabytes."""
GIGABYTE = 2**30
TOLERATED = 0.1
"""Gigabytes by which anonymous memory may grow."""


class Mapped(Dataset):
    """Rows of a memory-mapped file; asked for a list of rows, it gives a batch.

    Args:
        path: a file of float32 numbers.
        rows: how many rows of 256 it has.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self.rows = torch.from_file(str(path), shared=True, size=rows * COLUMNS, dtype=torch.float32)
        self.rows = self.rows.view(rows, COLUMNS)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: list[int]) -> dict[str, Tensor]:
        return {"x": self.rows[rows[0] : rows[-1] + 1].clone()}


class Memory(NamedTuple):
    """Gigabytes of a process: of its own, and with the pages of files that it has mapped."""

    anonymous: float
    resident: float


class Watch:
    """Looks at the memory of the process ten times a second, in a block.

    Attributes:
        before: what it was at the beginning.
        peak: the most that was seen of each.
    """

    def __enter__(self) -> "Watch":
        self.before = self.peak = memory()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self.peak = Memory(*map(max, self.peak, memory()))


class Guide(nn.Module):
    """q(z | x), linear."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(COLUMNS, 4)

    def forward(self, x: Tensor) -> None:
        """The program."""
        loc, log_scale = self.layer(x).chunk(2, -1)
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


class Model(nn.Module):
    """z ~ N(0, I), x ~ N(W z, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, COLUMNS)

    def forward(self, x: Tensor) -> None:
        """The program."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.layer(z), 1.0).to_event(1), obs=x)


def memory() -> Memory:
    """Of this process, now."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    anonymous, resident = (int(lines[name].split()[0]) / 2**20 for name in ("RssAnon", "VmRSS"))
    return Memory(anonymous, resident)


def stream(path: Path, gigabytes: float, compile: bool) -> tuple[Watch, float, int]:
    """Make the file, train on every row of it once; what memory was needed, the seconds, and the steps."""
    rows = int(gigabytes * GIGABYTE) // (4 * COLUMNS)
    with path.open("wb") as file:
        file.truncate(rows * 4 * COLUMNS)
    data = Mapped(path, rows)
    batches = BatchSampler(SequentialSampler(range(rows)), batch_size=ROWS, drop_last=False)
    loader: Any = DataLoader(data, sampler=batches, batch_size=None)
    run = functools.partial(fit, seed=0, compile=compile, progress=False)
    # What torch and Lightning take once, and the compiler, is no matter of the data.
    run(Model(), Guide(), [{"x": torch.zeros(ROWS, COLUMNS)}], epochs=3)
    with Watch() as watch:
        began = time.monotonic()
        steps = run(Model(), Guide(), loader, epochs=1).steps
    return watch, time.monotonic() - began, steps


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--compile", action="store_true", help="with compiled steps")
    parser.add_argument("--folder", type=Path, help="where the file goes; by default a temporary folder")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        watch, seconds, steps = stream(Path(folder) / "rows", chosen.gigabytes, chosen.compile)
    grown = watch.peak.anonymous - watch.before.anonymous
    header = ["file, GB", "steps", "s", "anonymous memory before, GB", "its peak", "grown by", "peak with mapped pages"]
    numbers = (watch.before.anonymous, watch.peak.anonymous, grown, watch.peak.resident)
    row = [f"{chosen.gigabytes:g}", f"{steps:,}", f"{seconds:.0f}", *(f"{number:.2f}" for number in numbers)]
    text = table(header, [row])
    write_block(chosen.results, "streaming", f"{text}\n\n{provenance('benchmarks.streaming')}")
    print(text)
    return 0 if grown <= TOLERATED else 1


if __name__ == "__main__":
    sys.exit(main())

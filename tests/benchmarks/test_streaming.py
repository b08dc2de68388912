"""The benchmark of streaming reads the whole file, and measures the memory of the process."""

import mmap
import sys

import pytest
import torch

from pyrometer.benchmarks.streaming import ROWS, Mapped, Watch, memory, stream

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone says what memory is anonymous")


def test_every_row_of_the_file_is_in_a_batch(tmp_path):
    """32 megabytes are 8 batches of 4."""
    watch, seconds, steps = stream(tmp_path / "rows", 1 / 32, compile=False)
    assert steps == 2**25 // (ROWS * 1024)
    assert seconds > 0
    assert watch.peak.resident >= watch.peak.anonymous > 0


def test_rows_are_those_of_the_file(tmp_path):
    numbers = torch.randn(10, 256)
    (tmp_path / "rows").write_bytes(numbers.numpy().tobytes())
    data = Mapped(tmp_path / "rows", 10)
    assert torch.equal(data[[3, 4, 5]]["x"], numbers[3:6])


def test_memory_that_is_held_for_a_moment_is_seen():
    with Watch() as watch:
        # New pages for certain: an allocator may serve a tensor from what it has kept, and nothing grows.
        pages = mmap.mmap(-1, 120_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        held = torch.frombuffer(pages, dtype=torch.uint8).fill_(1)
        while watch.peak.anonymous < memory().anonymous - 0.01:
            held += 1
    assert watch.peak.anonymous - watch.before.anonymous > 0.1

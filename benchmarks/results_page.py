"""The page of results: each benchmark owns one block of it, and no number in a block is written by hand."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["PAGE", "cpu_minutes", "mean_and_spread", "provenance", "table", "write_block"]

PAGE = Path("docs/results.md")


def write_block(page: Path, name: str, text: str) -> None:
    """Puts ``text`` between ``<!-- name -->`` and ``<!-- /name -->``; a page without these marks gets them at its end.

    Raises:
        ValueError: if the block is begun and never ended; the page is left as it was.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    old = page.read_text() if page.exists() else ""
    before, begun, rest = old.partition(start)
    _, ended, after = rest.partition(end)
    if begun and not ended:
        raise ValueError(f"{page} has {start} without {end}; put it back after the block.")
    if not begun:
        before, after = f"{old.rstrip()}\n\n" if old.strip() else "", "\n"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    Example:
        >>> print(table(["seed", "accuracy"], [["0", "0.9"]]))
        | seed | accuracy |
        |---|---|
        | 0 | 0.9 |
    """
    lines = [header, *rows]
    written = ["| " + " | ".join(cells) + " |" for cells in lines]
    return "\n".join([written[0], "|" + "---|" * len(header), *written[1:]])


def mean_and_spread(values: Iterable[float], digits: int = 2) -> str:
    """Mean ± standard deviation, of seeds say; of one value itself.

    Example:
        >>> mean_and_spread([95.0, 97.0], digits=1)
        '96.0 ± 1.4'
    """
    values = list(values)
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def cpu_minutes(seconds: Sequence[float | None]) -> str:
    """The mean in minutes, and of how many seeds where some were interrupted, so that nobody knows theirs.

    Example:
        >>> cpu_minutes([600.0, 900.0]), cpu_minutes([600.0, None]), cpu_minutes([None])
        ('12.5', '10.0 (1 of 2 seeds)', '')
    """
    known = [one / 60 for one in seconds if one is not None]
    if not known:
        return ""
    of = f" ({len(known)} of {len(seconds)} seeds)" if len(known) < len(seconds) else ""
    return f"{statistics.mean(known):.1f}{of}"


def provenance(module: str, *also: str) -> str:
    """What made a block: the command as it was called, the date, the machine and the versions, in one sentence.

    Args:
        module: what was run.
        also: distributions that this block depends on besides the package, torch and Pyro.
    """
    command = " ".join(["python -m", module, *sys.argv[1:]])
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("pyrometer", "torch", "pyro-ppl", *also)]
    made = [f"Python {platform.python_version()}", *versions]
    return f"`{command}`, {datetime.date.today()}, on {os.cpu_count()} cores of {processor()}; {', '.join(made)}."


def processor() -> str:
    """The processor's model name, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()

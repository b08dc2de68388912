"""Compiled steps as users run them: every case and every recipe, by the width of vectors and the number of threads.

`python -m benchmarks.crash_matrix` writes its table into docs/results.md. Every case is trained in processes of its
own, so that one that ends its process is counted as that. Exits with 1 where a cell is not "ok".
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from .case_processes import Cell, Found, Setting, environment, found_apart, in_parallel, widths_here
from .case_worker import SHAPES, SIMDLEN
from .results_page import PAGE, provenance, table, write_block

__all__ = ["main", "report"]

STEPS = 10
THREADS = 1, 2, 4
RESULTS = Path("runs/crash-matrix.jsonl")
WORDS = {"none": "no vectors", "own": "its own vectors"}


def main() -> int:
    """The command; gives the exit status."""
    chosen = _arguments()
    if not chosen.resume:
        chosen.found.unlink(missing_ok=True)
    chosen.found.parent.mkdir(parents=True, exist_ok=True)
    wanted = [
        (case, width, threads, chosen.steps)
        for case in chosen.cases
        for width in chosen.widths
        for threads in chosen.threads
    ]
    known = {found[:4]: found for found in _read(chosen.found)}
    chosen.found.write_text("".join(f"{json.dumps(found._asdict())}\n" for found in known.values()))
    left = [cell for cell in wanted if cell not in known]
    with environment(chosen.flags) as variables:
        parts = _parts(left, chosen.steps, variables)
        start = time.monotonic()
        for count, found in enumerate(in_parallel(parts, chosen.jobs), 1):
            known[found[:4]] = found
            with chosen.found.open("a") as file:
                print(json.dumps(found._asdict()), file=file)
            minutes = (time.monotonic() - start) / count * (len(left) - count) / 60
            words = f"{found.case}, {found.width}, {found.threads}: {found.verdict}"
            print(f"{count} of {len(left)}, {minutes:.0f} min to go: {words}", file=sys.stderr)
    cells = [known[cell] for cell in wanted]
    text = report(cells)
    write_block(chosen.results, "crash-matrix", f"{text}\n\n{provenance('benchmarks.crash_matrix')}")
    print(text)
    return 0 if all(found.verdict == "ok" for found in cells) else 1


def report(cells: Sequence[Found]) -> str:
    """The table of the cases with a cell that is not "ok", and how many have none."""
    by_case: dict[str, dict[tuple[str, int], str]] = {}
    for found in cells:
        by_case.setdefault(found.case, {})[found.width, found.threads] = found.verdict
    columns = list(dict.fromkeys((found.width, found.threads) for found in cells))
    bad = {case: row for case, row in by_case.items() if set(row.values()) != {"ok"}}
    crashes = sum(found.verdict.startswith("crash") for found in cells)
    words = (
        f"{len(by_case) - len(bad)} of {len(by_case)} cases are compiled and give the numbers of plain steps in all of "
        f"{_columns(columns)}, after {cells[0].steps} steps; {crashes} of {len(cells)} cells ended their process. "
        f"Processor time was {sum(found.seconds for found in cells) / len(cells):.0f} s a cell."
    )
    if not bad:
        return words
    header = ["case", *(f"{WORDS.get(width, width)}, {threads}" for width, threads in columns)]
    rows = [[case, *(row.get(column, "") for column in columns)] for case, row in bad.items()]
    return f"{words} The others, by the width of vectors and the number of threads:\n\n{table(header, rows)}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.crash_matrix", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cases", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="CASE")
    parser.add_argument("--threads", nargs="+", type=int, default=THREADS)
    parser.add_argument("--widths", nargs="+", choices=SIMDLEN, default=widths_here(), help="of vectors, in bits")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--flags", nargs="*", default=[], help="more for the C++ compiler, as --flags=-O0")
    parser.add_argument("--resume", action="store_true", help="go on with what --found has")
    parser.add_argument("--found", type=Path, default=RESULTS, help="gets a line for each cell")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    return parser.parse_args()


def _read(path: Path) -> list[Found]:
    """What an earlier run has found; a line that it was writing when it ended is none."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [Found(**json.loads(line)) for line in lines if line.endswith("\n")]


def _parts(
    cells: Iterable[tuple[str, str, int, int]], steps: int, variables: dict[str, str]
) -> list[Callable[[], Iterable[Found]]]:
    """A process for each case and width, which takes the numbers of threads in turn."""
    grouped: dict[tuple[str, str], list[Cell]] = {}
    for case, width, threads, _ in cells:
        grouped.setdefault((case, width), []).append(Cell(case, threads))
    return [partial(found_apart, own, Setting(width, steps, variables)) for (_, width), own in grouped.items()]


def _columns(columns: Sequence[tuple[str, int]]) -> str:
    widths = dict.fromkeys(WORDS.get(width, f"vectors of {width} bits") for width, _ in columns)
    threads = dict.fromkeys(str(count) for _, count in columns)
    return f"{len(columns)} ways ({', '.join(widths)}; {', '.join(threads)} threads)"


if __name__ == "__main__":
    sys.exit(main())

"""Compiled steps of every case and every recipe under the address sanitizer, with two threads and vectors of 256 bits.

`python -m benchmarks.sanitised` writes its table into docs/results.md. Exits with 1 where something was found, and
with 2 where there is no sanitizer. With `--planted` it runs a graph that is known to be compiled wrongly, and exits
with 1 where that is not found.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from .case_processes import Cell, Found, Setting, environment, found_apart, in_parallel
from .case_worker import SHAPES
from .results_page import PAGE, provenance, table, write_block

__all__ = ["libraries", "main", "report", "told"]

FLAGS = "-fsanitize=address", "-fno-omit-frame-pointer", "-O1", "-g"
STATUS = 86
OPTIONS = f"detect_leaks=0:halt_on_error=1:exitcode={STATUS}:alloc_dealloc_mismatch=0"
WIDTH, THREADS, STEPS = "256", 2, 3


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sanitised", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="CASE")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--planted", action="store_true", help="only show that a known fault is found")
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    preloaded = libraries()
    if preloaded is None:
        print("There is no address sanitizer: g++ with its libasan.so is needed.", file=sys.stderr)
        return 2
    with environment(FLAGS) as variables:
        sanitising = {**variables, "LD_PRELOAD": preloaded, "ASAN_OPTIONS": OPTIONS}
        if chosen.planted:
            return _planted(sanitising)
        cells = [Cell(case, THREADS) for case in chosen.cases]
        setting = Setting(WIDTH, STEPS, sanitising)
        parts = [partial(found_apart, [cell], setting, told) for cell in cells]
        found = []
        for one in in_parallel(parts, chosen.jobs):
            found.append(one)
            print(f"{len(found)} of {len(cells)}: {one.case}: {one.verdict}", file=sys.stderr)
    text = report(found)
    write_block(chosen.results, "sanitised", f"{text}\n\n{provenance('benchmarks.sanitised')}")
    print(text)
    return 0 if all(one.verdict == "ok" for one in found) else 1


def libraries() -> str | None:
    """What is preloaded into Python: the sanitizer, and the library of C++ whose exceptions it watches."""
    compiler = os.environ.get("CXX", "g++").split()
    if shutil.which(compiler[0]) is None:
        return None
    names = "libasan.so", "libstdc++.so"
    found = [
        subprocess.run([*compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=False).stdout
        for name in names
    ]
    paths = [one.strip() for one in found]
    return " ".join(paths) if all(Path(path).is_absolute() and Path(path).exists() for path in paths) else None


def told(status: int | None, err: str) -> str:
    """What the sanitizer tells, in a line: the kind of fault, and the first frame that is not its own, without folders.

    Example:
        >>> told(86, "==7==ERROR: AddressSanitizer: heap-buffer-overflow on 0x1\\n    #0 0x2 in kernel /b/a.cpp:9")
        'heap-buffer-overflow in kernel a.cpp:9'
    """
    kind = re.search(r"ERROR: AddressSanitizer: (\S+)", err)
    if kind is None:
        last = (err.strip().splitlines() or [""])[-1]
        return f"ended with {status}, and nothing was told: {last}"
    frames = re.findall(r"^\s+#\d+ 0x[0-9a-f]+ in (.+)$", err, re.MULTILINE)
    own = [frame for frame in frames if "interceptor" not in frame and "asan" not in frame]
    first = (own or frames or ["an unknown place"])[0]
    return f"{kind[1]} in {re.sub(r'(?<= )/(?:.*/)?', '', first)}"


def report(found: Sequence[Found]) -> str:
    """How many cases are without a fault, and the others."""
    bad = [[one.case, one.verdict] for one in found if one.verdict != "ok"]
    faults = sum(bool(one.failure) for one in found)
    words = (
        f"Compiled code of {len(found)} cases under the address sanitizer, with {THREADS} threads and vectors of "
        f"{WIDTH} bits, {STEPS} steps each: {faults} faults; {len(found) - len(bad)} cases are compiled and give the "
        "numbers of plain steps."
    )
    return f"{words}\n\n{table(['case', 'what was found'], bad)}" if bad else words


def _planted(variables: dict[str, str]) -> int:
    command = [sys.executable, "-m", "pyrometer.benchmarks.sanitised_fault"]
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    words = told(ended.returncode, ended.stderr)
    print(words)
    return 0 if ended.returncode == STATUS and words.startswith("heap-buffer-overflow") else 1


if __name__ == "__main__":
    sys.exit(main())

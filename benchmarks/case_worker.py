"""A process that trains cases plainly and compiled, with so many threads each, and says in a line what it has found.

`case_processes` starts it. A case that ends the process is the first of which nothing was said.
"""

import argparse
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

import torch
from torch._inductor import config

from .exactness import CASES
from .exactness_case import Case, Trained, differences, trained
from .exactness_planted import PLANTED
from .exactness_recipes import RECIPES

__all__ = ["SHAPES", "SIMDLEN", "main"]

SHAPES: dict[str, Callable[[], Case]] = {**CASES, **RECIPES}
SIMDLEN = {"256": 256, "512": 512, "none": 1, "own": None}
"""Torch's setting by the width of vectors: a width that no processor has makes code without vectors."""


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.case_worker", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--cells", type=json.loads, required=True, help="a list of pairs: a case, a number of threads")
    parser.add_argument("--width", choices=SIMDLEN, required=True)
    parser.add_argument("--steps", type=int, required=True)
    chosen = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out, plain, spent = _own_output(), {}, 0.0
    with config.patch({"cpp.simdlen": SIMDLEN[chosen.width]}):
        for case, threads in chosen.cells:
            found = _found(case, threads, chosen.steps, plain)
            now = sum(os.times()[:4])
            print(json.dumps({**found, "seconds": now - spent}), file=out, flush=True)
            spent = now
    return 0


def _found(case: str, threads: int, steps: int, plain: dict[str, Trained]) -> dict[str, Any]:
    """What is known of a cell; an error of Python's is known as well."""
    build = {**SHAPES, **PLANTED}[case]
    try:
        if case not in plain:
            torch.set_num_threads(1)
            plain[case] = trained(build, compile=False, steps=steps)
        torch.set_num_threads(threads)
        compared = differences(plain[case], trained(build, compile=True, steps=steps))
    except Exception as error:
        return {"failure": f"{type(error).__name__}: {error}"}
    return {"engine": compared.engine, "losses": compared.losses, "parameters": compared.parameters}


def _own_output() -> TextIO:
    """Standard output for results alone: what others print goes to standard error."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return out


def _end_with_parent() -> None:
    """Wait for the end of standard input, which is that of whoever has started this, and end with all children."""
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

"""Compiled steps against plain ones, on many shapes of program and objective, from the same seed.

`python -m benchmarks.exactness` writes its table into docs/results.md. Exits with 1 where a loss is off by more than
1e-5, or a parameter after 30 steps by more than 1e-4, both relative.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from .exactness_case import NOISE, STEPS, Case, Compared, compared
from .exactness_guides import GUIDES
from .exactness_networks import NETWORKS
from .exactness_objectives import OBJECTIVES
from .exactness_optimizers import OPTIMIZERS
from .exactness_own_objectives import OWN_OBJECTIVES
from .exactness_programs import PROGRAMS
from .results_page import PAGE, provenance, table, write_block

__all__ = ["CASES", "LOSSES", "PARAMETERS", "is_exact", "main", "report"]

CASES: dict[str, Callable[[], Case]] = {
    **{**PROGRAMS, **GUIDES, **NETWORKS, **OBJECTIVES},
    **{**OWN_OBJECTIVES, **OPTIMIZERS},
}
LOSSES, PARAMETERS = 1e-5, 1e-4
"""How far, relative, a loss and a parameter may be off."""


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exactness", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--results", type=Path, default=PAGE, help="the page that gets the table")
    chosen = parser.parse_args()
    found: dict[str, Compared] = {}
    for name in chosen.cases:
        found[name] = compared(CASES[name], chosen.steps)
        print(f"{name}: {found[name]}", flush=True)
    text = report(found, chosen.steps)
    write_block(chosen.results, "exactness", f"{text}\n\n{provenance('benchmarks.exactness')}")
    print(text)
    return 0 if all(map(is_exact, found.values())) else 1


def is_exact(found: Compared) -> bool:
    """Losses and parameters are as near as they are to be."""
    return found.losses <= LOSSES and found.parameters <= PARAMETERS


def report(found: Mapping[str, Compared], steps: int) -> str:
    """The table, a row for each case, and what it says."""
    header = ["case", "how steps were taken", "losses off by", "parameters off by", "elements left out"]
    rows = [
        [name, _how(one), f"{one.losses:.0e}", f"{one.parameters:.0e}", _left_out(one)] for name, one in found.items()
    ]
    exact = sum(map(is_exact, found.values()))
    compiled = sum(one.engine.startswith("compiled") for one in found.values())
    words = (
        f"{exact} of {len(found)} cases are within {LOSSES:.0e} in every loss and {PARAMETERS:.0e} in every parameter "
        f"after {steps} steps (relative, in norm); {compiled} were compiled. Left out are elements whose gradient is "
        f"rounding error, never above {NOISE:.0e} of the largest of its step, of which Adam makes whole steps of a "
        "sign that means nothing."
    )
    return "\n\n".join([table(header, rows), words])


def _how(found: Compared) -> str:
    """Without the seconds that it took."""
    return found.engine.partition(" (")[0] if found.engine.startswith("compiled") else found.engine


def _left_out(found: Compared) -> str:
    return f"{found.left_out} of {found.elements}" if found.left_out else ""


if __name__ == "__main__":
    sys.exit(main())

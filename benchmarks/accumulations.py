"""Compiled programs that sum into places of a tensor, or might, against plain torch: with two threads, by vector width.

Every group of programs is compiled and run in a process of its own, since a sum that is compiled wrongly may write
where it will, and end the process.
"""

import argparse
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor
from torch._inductor import config, cpu_vec_isa
from torch._inductor.graph import GraphLowering

from pyrometer.inference.compiler import accumulations, compile_at
from pyrometer.inference.svi.compiled import build

from .accumulations_programs import PROGRAMS, Program

__all__ = ["Found", "found_apart", "has_width", "main"]

WIDTHS = 256, 512
THREADS = 2
TOLERANCE = 2e-4
"""Relative to the largest number of a result: sums are taken in another order."""
SECONDS = 600


class Found(NamedTuple):
    """What a process has found.

    Attributes:
        failure: how it ended, where it did not reach its end; else empty.
        off: of each program, the largest difference over the largest number, of all results and gradients.
        atomics: lines of the compiled code that add atomically.
        left: sums that were left to torch.
    """

    failure: str
    off: dict[str, float]
    atomics: int = 0
    left: int = 0

    @property
    def wrong(self) -> list[str]:
        """Programs whose numbers are others; NaN is another number."""
        return [name for name, off in self.off.items() if not off <= TOLERANCE]


def main() -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accumulations", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=list(PROGRAMS), metavar="PROGRAM")
    parser.add_argument("--widths", nargs="+", type=int, choices=WIDTHS, default=list(filter(has_width, WIDTHS)))
    parser.add_argument("--unprotected", action="store_true", help="as the compiler would do it")
    parser.add_argument("--here", action="store_true", help="all programs in one graph in this process, at one width")
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(_found_here(chosen.programs, chosen.widths[0], chosen.unprotected)))
        return 0
    bad = 0
    for name in chosen.programs:
        for width in chosen.widths:
            found = found_apart([name], width, chosen.unprotected)
            words = found.failure or f"off by {found.off[name]:.0e}, {found.left} left to torch, {found.atomics} atomic"
            bad += bool(found.failure or found.wrong)
            print(f"{name}, {width}: {words}", flush=True)
    return min(bad, 1)


def has_width(width: int) -> bool:
    """The machine has vectors of so many bits."""
    return any(isa.bit_width() == width for isa in cpu_vec_isa.valid_vec_isa_list())


def found_apart(names: Iterable[str], width: int, unprotected: bool = False) -> Found:
    """Compile and run programs, as one graph, in a process of its own.

    Args:
        names: of the programs.
        width: of vectors, in bits.
        unprotected: whether sums are the compiler's.
    """
    command = [sys.executable, "-m", "pyrometer.benchmarks.accumulations", "--here", "--widths", str(width)]
    command += ["--programs", *names, *(["--unprotected"] if unprotected else [])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if ended.returncode != 0:
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        return Found(f"ended with {ended.returncode}: {last}", {})
    return Found(*json.loads(ended.stdout.splitlines()[-1]))


def _found_here(names: Sequence[str], width: int, unprotected: bool) -> Found:
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    programs = [PROGRAMS[name] for name in names]
    inputs = [_with_directions(program) for program in programs]
    counts: list[int] = []

    def all_of_them(*tensors: Tensor) -> list[Tensor]:
        rest, results = iter(tensors), []
        for program, own in zip(programs, inputs, strict=True):
            given = [next(rest) for _ in own]
            results.extend(_evaluated(program, given))
        return results

    flat = [tensor for own in inputs for tensor in own]
    expected = [_evaluated(program, own) for program, own in zip(programs, inputs, strict=True)]
    with (
        config.patch({"cpp.simdlen": width, "fx_graph_cache": False}),
        _codes() as codes,
        _counted(counts, unprotected),
    ):
        fast = compile_at(all_of_them, flat, build.IN_STEPS)
        results = iter([fast(*flat) for _ in range(3)][-1])  # a fault in memory may show late
    off = {}
    for name, tensors in zip(names, expected, strict=True):
        off[name] = max(_off(next(results), tensor) for tensor in tensors)
    return Found("", off, sum(code.count("atomic_add") for code in codes), sum(counts))


def _with_directions(program: Program) -> list[Tensor]:
    """The inputs of a program, and what its result is multiplied by, in its order and with its axes turned."""
    inputs = program.inputs()
    value = program.function(*inputs)
    return [*inputs, torch.randn(value.shape), torch.randn(_turned(value).shape)]


def _evaluated(program: Program, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The result, and the gradients of two losses; values of the second come in another order in memory."""
    *inputs, direction, turned = tensors
    with torch.enable_grad():
        leaves = [one.detach().requires_grad_(one.is_floating_point()) for one in inputs]
        value = program.function(*leaves)
        if not value.requires_grad:
            return [value]
        moving = [leaf for leaf in leaves if leaf.requires_grad]
        losses = (value * direction).sum(), (_turned(value).sin() * turned).sum()
        gradients = [torch.autograd.grad(loss, moving, retain_graph=True, allow_unused=True) for loss in losses]
    return [value.detach(), *(gradient for both in gradients for gradient in both if gradient is not None)]


def _turned(value: Tensor) -> Tensor:
    return value.transpose(-1, -2) if value.ndim > 1 else value


def _off(found: Tensor, expected: Tensor) -> float:
    scale = expected.abs().max().clamp(min=1e-30)
    return float(((found - expected).abs().max() / scale).nan_to_num(torch.inf))


@contextmanager
def _codes() -> Iterator[list[str]]:
    """What is compiled within."""
    codes: list[str] = []
    with patch.object(GraphLowering, "save_output_code", codes.append):
        yield codes


@contextmanager
def _counted(counts: list[int], unprotected: bool) -> Iterator[None]:
    """A block in which the sums left to torch are counted, or there are none."""
    right: Callable[[Any], int] = accumulations.leave_to_torch

    def counting(graph: Any) -> int:
        counts.append(right(graph))
        return counts[-1]

    with patch.object(accumulations, "leave_to_torch", (lambda _: 0) if unprotected else counting):
        yield


if __name__ == "__main__":
    sys.exit(main())

"""The components of a path and their gradients as one compiled function, without Python, Pyro or autograd inside."""

import time
from collections.abc import Callable

import pyro
import torch
from torch import Tensor

from ..compiler import compile_at, too_old
from ..compiler.torch_internals import trace
from .hmc import Evaluate, Parts, parts_at

__all__ = ["Compile", "NotCompiled", "compiled", "worthwhile"]

Compile = bool | str
COMPILING_SECONDS = 30.0
GAIN = 0.3
"""The part of an evaluation's time that compiling saves, at least."""


class NotCompiled(RuntimeError):  # noqa: N818 - it says what did not happen, and the caller goes on without
    """A program cannot be compiled, or would give other numbers."""


def compiled(components: Callable[[Tensor], tuple[Tensor, Tensor]], example: Tensor) -> Evaluate:
    """The evaluator of components, traced at an example of coordinates (S, G, D) and compiled for its shape.

    The program runs once, while it is traced: what it does in Python must not depend on the values. That is checked at
    another point.

    Raises:
        NotCompiled: if torch is too old, if tracing or compiling fails, or if another point is given other numbers
            than without.
    """

    if reason := too_old():
        raise NotCompiled(reason)

    def evaluate(u: Tensor) -> tuple[Tensor, ...]:
        return tuple(parts_at(components, u))

    try:
        # A compilation that fails leaves torch's validation of distributions switched off; the block puts it back.
        with torch.no_grad(), pyro.validation_enabled(False):
            evaluate(example)  # how draws are vectorised is found out by comparing values, which a trace has not
            graph = trace(evaluate, example)
            fast = compile_at(graph, [example], {})
            # In the middle between neighbouring chains: as plausible as they are, and none of them.
            other = 0.5 * (example + example.roll(1, 0))
            found, expected = fast(other), evaluate(other)
    except Exception as error:  # tracing runs the user's program, and compiling calls a compiler: anything can fail
        raise NotCompiled(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    tolerance = 1e4 * torch.finfo(example.dtype).eps
    for name, a, b in zip(Parts._fields, found, expected, strict=True):
        if not torch.allclose(a, b, rtol=tolerance, atol=tolerance * b.abs().amax().item(), equal_nan=True):
            raise NotCompiled(f"compiled, the {name} of the path differs: the program's Python depends on its values")

    def run(u: Tensor) -> Parts:
        # A last piece that is smaller is not worth compiling for another shape.
        with torch.no_grad():
            return Parts(*(fast(u) if u.shape == example.shape else evaluate(u)))

    return run


def worthwhile(evaluate: Evaluate, u: Tensor, evaluations: int) -> bool:
    """Whether compiling pays for itself over so many evaluations at the shape of u."""
    began = time.perf_counter()
    evaluate(u)
    return GAIN * (time.perf_counter() - began) * evaluations > COMPILING_SECONDS

"""Who takes the steps: Pyro as it is, Pyro through torch.jit, NumPyro, plain torch by hand, and the floor."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.infer import SVI
from pyro.optim import PyroOptim
from torch import Tensor

from .speed_pair import HandWritten, Product, Run, SpeedPair

__all__ = ["LOOP", "PLAIN", "SCAN", "TRACED", "floors", "has_wide_vectors", "missing", "systems"]

PLAIN = "Pyro, `SVI.step`"
TRACED = "Pyro, `Jit` ELBO"
LOOP = "NumPyro, jitted loop"
SCAN = "NumPyro, scan"

Build = Callable[[], Run]


def systems(pair: SpeedPair) -> dict[str, Build]:
    """What makes each competitor anew, by name."""
    found: dict[str, Build] = {
        PLAIN: lambda: _pyro(pair, pair.objective()),
        TRACED: lambda: _pyro(pair, pair.traced_objective()),
    }
    if not missing():
        from . import speed_numpyro

        found |= {LOOP: lambda: speed_numpyro.loop(pair), SCAN: lambda: speed_numpyro.scan(pair)}
    for name, write in pair.by_hand.items():
        found[name] = lambda write=write: _by_hand(write(), pair.rate, mixed=False)
    if pair.mixed and has_wide_vectors():
        for name, write in pair.by_hand.items():
            found[f"{name}, bf16"] = lambda write=write: _by_hand(write(), pair.rate, mixed=True)
    return found


def has_wide_vectors() -> bool:
    """Torch uses AVX-512, without which it imitates products in bfloat16 and takes a hundred times as long."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def missing() -> list[str]:
    """The packages of the extra ``bench`` that are not installed."""
    return [name for name in ("jax", "numpyro") if find_spec(name) is None]


def floors(pair: SpeedPair) -> dict[str, Build]:
    """The multiplications of a step and nothing else, by how it is written, who multiplies and in which precision.

    In float32 that is the library which torch takes by itself, and oneDNN, which comes with torch as well: on some
    processors one is twice as fast as the other.
    """
    ways = {"": (torch.float32, _mm)}
    if has_wide_vectors():
        ways[", bf16"] = torch.bfloat16, _mm
    if torch.backends.mkldnn.is_available():
        ways[", oneDNN"] = (torch.float32, _mm_of_onednn)
    return {
        f"multiplications alone, {name}{suffix}": lambda products=products, way=way: _floor(products, *way)
        for name, products in pair.products.items()
        for suffix, way in ways.items()
    }


def _pyro(pair: SpeedPair, objective: Any) -> Run:
    """``SVI.step`` as Pyro's examples use it, with Pyro's own settings and a parameter store of its own."""
    state: dict[str, Any] = {"params": {}, "constraints": {}}
    data = tuple(pair.data.values())
    with _apart(state):
        model, guide = pair.programs()
        # `pyro.optim.Adam`, whose name only the import of Pyro makes.
        svi = SVI(model, guide, PyroOptim(torch.optim.Adam, {"lr": pair.rate}), loss=objective)
        # AutoGuides and torch.jit draw numbers of their own at the first call.
        with poutine.trace(param_only=True) as parameters:
            objective.loss_and_grads(model, guide, *data)
        nodes: Any = parameters.trace.nodes
        for site in nodes.values():
            site["value"].unconstrained().grad = None

    def run(steps: int) -> Sequence[Any]:
        with _apart(state):
            return [svi.step(*data) for _ in range(steps)]

    return run


@contextmanager
def _apart(state: Any) -> Iterator[None]:
    with (
        pyro.settings.context(module_local_params=False),
        pyro.get_param_store().scope(state),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and says so at every turn
        yield


def _by_hand(step: HandWritten, rate: float, mixed: bool) -> Run:
    optimizer = torch.optim.Adam(step.parameters, lr=rate, fused=True)

    def run(steps: int) -> Sequence[Any]:
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = step.loss()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    return run


def _mm(left: Tensor, right: Tensor, out: Tensor) -> None:
    torch.mm(left, right, out=out)


def _mm_of_onednn(left: Tensor, right: Tensor, out: Tensor) -> None:  # noqa: ARG001 - it makes a result of its own
    torch.ops.mkldnn._linear_pointwise(left, right.T, None, "none", [], "")


def _floor(products: list[Product], dtype: torch.dtype, multiply: Callable[[Tensor, Tensor, Tensor], None]) -> Run:
    """Operands and results lie ready, so that nothing but the multiplication is timed."""
    ready = [
        (torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype), torch.empty(m, n, dtype=dtype))
        for m, k, n in products
    ]

    def run(steps: int) -> Sequence[Any]:
        for _ in range(steps):
            for left, right, out in ready:
                multiply(left, right, out)
        return []

    return run

"""What the tests of compiled steps share: graphs that are run as they are, without a C++ compiler."""

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyrometer.inference.svi.compiled import build
from pyrometer.inference.svi.compiled.rewriting import set_in_order
from pyrometer.inference.svi.compiled.self_check import Plain
from pyrometer.inference.svi.objective import as_objective
from pyrometer.inference.svi.pair import Pair


def as_written(_options: Any) -> Callable:
    return lambda function, _example: function


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is as in compiled steps, but operations are run one by one: seconds become milliseconds."""
    monkeypatch.setattr(build, "_compiler", as_written)


ADAM = functools.partial(torch.optim.Adam, lr=0.05)


class Guide(nn.Module):
    """q(z) = N(loc, exp(log_scale)^2)."""

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.tensor(0.4)), nn.Parameter(torch.tensor(-0.6))

    def forward(self, y: Tensor) -> None:  # noqa: ARG002 - the arguments are the model's
        pyro.sample("z", dist.Normal(self.loc, self.log_scale.exp()))


def location(y: Tensor) -> None:
    """z ~ N(0, 2), y ~ N(z, 0.7)."""
    z = pyro.sample("z", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)


@pytest.fixture
def batch() -> dict[str, Tensor]:
    """Five numbers."""
    return {"y": torch.tensor([0.3, -0.1, 1.2, 2.0, 0.7])}


@pytest.fixture
def plain() -> Callable[..., Plain]:
    """A function that makes a pair, its optimizer and plain steps of both."""

    def make(
        model: Callable = location,
        guide: Callable | None = None,
        objective: Any = None,
        optimizer: Callable = ADAM,
    ) -> Plain:
        pair = Pair(model, Guide() if guide is None else guide, as_objective(objective))
        built = optimizer(pair.trainable())

        def step(batch: dict[str, Any], numbers: Mapping[str, float]) -> float:
            built.zero_grad()
            loss = pair(batch, numbers)
            if not pair.objective.accumulates:
                loss.backward()
            built.step()
            return loss.item()

        return Plain(pair, built, step)

    return make


class Graphs:
    """Graphs of small functions, as a capture makes them."""

    @staticmethod
    def of(function: Callable, *inputs: Tensor) -> GraphModule:
        """The operations of a function, with the meta data that passes read."""
        graph = make_fx(function)(*(tensor.clone() for tensor in inputs))
        set_in_order(graph)
        return graph

    @staticmethod
    def rewritten(graph: GraphModule, rewrite: Callable[[GraphModule], int], *inputs: Tensor) -> int:
        """How many places a pass has rewritten, after a check that the results are the same bit by bit."""
        before = copy.deepcopy(graph)
        count = rewrite(graph)
        expected, found = (one(*(tensor.clone() for tensor in inputs)) for one in (before, graph))
        pairs = zip(expected, found, strict=True) if isinstance(expected, list | tuple) else [(expected, found)]
        for old, new in pairs:
            assert (old.dtype, old.shape) == (new.dtype, new.shape)
            assert torch.equal(old.nan_to_num(7.0), new.nan_to_num(7.0))
        return count

    @staticmethod
    def targets(graph: GraphModule) -> list[str]:
        """The names of its operations, in order."""
        return [str(node.target).removeprefix("aten.") for node in graph.graph.nodes if node.op == "call_function"]


@pytest.fixture
def graphs() -> type[Graphs]:
    """What the tests of passes share."""
    return Graphs

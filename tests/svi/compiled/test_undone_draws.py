"""A graph does not draw what a plain step as good as did not: the draws before the random state is put back."""

from contextlib import contextmanager

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.util import get_rng_state, set_rng_state

from pyrometer.inference.svi.compiled.capture import capture, is_random
from pyrometer.inference.svi.compiled.traceable import NotTraceable


@contextmanager
def put_back():
    state = get_rng_state()
    yield
    set_rng_state(state)


class Weight(torch.nn.Module):
    """q(z | y) = N(weight y, 1)."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(self.weight * y, 1.0))


def drawn(guide, y):
    return pyro.poutine.trace(guide).get_trace(y).nodes["z"]["value"]


def random_nodes(plain, batch, objective):
    captured = capture(plain(lambda y: None, Weight(), objective).pair, batch, {})  # noqa: ARG005
    return captured, [node for node in captured.graph.graph.nodes if is_random(node)]


def test_draws_whose_state_is_put_back_are_left_out_and_those_before_and_after_stay(plain, batch):
    def objective(model, guide, y):  # noqa: ARG001
        first = drawn(guide, y)
        with put_back():
            drawn(guide, y)
            with put_back():
                torch.rand(3)
            torch.empty(4).normal_()
        return (first * drawn(guide, y)).sum()

    captured, nodes = random_nodes(plain, batch, objective)
    assert len(nodes) == 2
    leaf = captured.leaves[0].detach()
    torch.manual_seed(3)
    (loss, _) = captured.graph(leaf, *captured.constants, batch["y"])
    torch.manual_seed(3)
    one, other = torch.randn(2, len(batch["y"]))
    y = batch["y"]
    torch.testing.assert_close(loss, ((leaf * y + one) * (leaf * y + other)).sum())


def test_unused_draws_whose_state_is_kept_stay(plain, batch):
    def objective(model, guide, y):  # noqa: ARG001
        torch.rand(3)
        return drawn(guide, y).sum()

    assert len(random_nodes(plain, batch, objective)[1]) == 2


def test_a_program_that_goes_on_with_such_a_draw_is_no_graph(plain, batch):
    def objective(model, guide, y):  # noqa: ARG001
        with put_back():
            noise = torch.randn(len(y))
        return (noise * drawn(guide, y)).sum()

    with pytest.raises(NotTraceable, match="before it put the random state back"):
        random_nodes(plain, batch, objective)


def test_draws_of_another_generator_stay(plain, batch):
    generator = torch.Generator()

    def objective(model, guide, y):  # noqa: ARG001
        with put_back():
            torch.randn(3, generator=generator)
        return drawn(guide, y).sum()

    assert len(random_nodes(plain, batch, objective)[1]) == 2


WRITES = {
    "in place": lambda kept: kept.add_(1),
    "to a part": lambda kept: kept[:1].add_(1),
    "to the result": lambda kept: torch.add(torch.zeros(2), torch.ones(2), out=kept),
    "to one of several": lambda kept: torch._foreach_add_([torch.zeros(2), kept], 1),
    "after another": lambda kept: kept.mul_(2).add_(1),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_is_written_in_the_meantime_stays_written(write, plain, batch):
    kept, expected = torch.zeros(2), torch.zeros(2)
    write(expected)

    def objective(model, guide, y):  # noqa: ARG001
        with put_back():
            write(kept)
        return drawn(guide, y).sum()

    captured, _ = random_nodes(plain, batch, objective)
    kept.zero_()
    captured.graph(captured.leaves[0].detach(), *captured.constants, batch["y"])
    assert torch.equal(kept, expected)

"""Draws that are moved out of a graph are the draws of the plain program, bit by bit and in its order."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer.inference.svi.compiled.capture import capture, is_random
from pyrometer.inference.svi.compiled.noise import are_small_normals, hoist_noise, normal_rows

CASES = {
    "one number": [()],
    "few": [(3,), (), (2, 5)],
    "fewer than sixteen and more": [(3,), (15,), (16,), (17,), ()],
    "many": [(40,), (100, 3)],
}


def drawing(shapes):
    """A guide that draws standard normal numbers, and what it drew."""
    drawn = []

    def guide(y):  # noqa: ARG001
        drawn.clear()
        for index, shape in enumerate(shapes):
            normal = dist.Normal(torch.zeros(shape), 1.0).to_event(len(shape))
            drawn.append(pyro.sample(f"z{index}", normal))

    return guide, drawn


def hoisted(guide, plain, batch, model=lambda y: None):  # noqa: ARG005
    """The capture of a loss that uses every draw of the guide."""

    class Weight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(0.3))

        def forward(self, y):
            guide(y)

    def objective(model, guide, y):  # noqa: ARG001
        trace = pyro.poutine.trace(guide).get_trace(y)
        values = [site["value"].double().sum() for site in trace.nodes.values() if site["type"] == "sample"]
        return guide.weight * torch.stack(values).sum()

    captured = capture(plain(model, Weight(), objective).pair, batch, {})
    hoist_noise(captured)
    return captured


@pytest.mark.parametrize("shapes", CASES.values(), ids=CASES)
def test_hoisted_draws_are_those_of_the_program(shapes, plain, batch):
    """Against what the guide itself draws from the same seed, over three steps on end."""
    guide, drawn = drawing(shapes)
    captured = hoisted(guide, plain, batch)
    assert [tuple(shape) for shape in captured.shapes] == shapes
    assert captured.noise is not None
    torch.manual_seed(3)
    found = [captured.noise() for _ in range(3)]
    state = torch.get_rng_state()
    torch.manual_seed(3)
    for step in found:
        guide(batch["y"])
        assert all(map(torch.equal, step, drawn))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_draw_that_needs_data_and_all_after_it_stay_in_the_graph(plain, batch):
    """Normal, Poisson of the data, normal again: the first is moved, and the whole reads the same stream."""

    def guide(y):
        pyro.sample("a", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("b", dist.Poisson(y.exp()).to_event(1))
        pyro.sample("c", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    captured = hoisted(guide, plain, batch)
    assert [tuple(shape) for shape in captured.shapes] == [(3,)]
    assert sum(map(is_random, captured.graph.graph.nodes)) == 2
    torch.manual_seed(3)
    loss = captured.graph(*captured.leaves, *captured.constants, batch["y"], *captured.noise())[0]
    torch.manual_seed(3)
    trace = pyro.poutine.trace(guide).get_trace(batch["y"])
    expected = 0.3 * sum(site["value"].double().sum() for site in trace.nodes.values() if site["type"] == "sample")
    torch.testing.assert_close(loss, expected)


def test_uniform_and_bernoulli_draws_of_constants_are_moved_too(plain, batch):
    def guide(y):
        pyro.sample("a", dist.Uniform(torch.zeros(3), 1.0).to_event(1))
        torch.nn.functional.dropout(y, 0.4)
        pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    captured = hoisted(guide, plain, batch)
    assert captured.noise is not None
    assert not are_small_normals(captured.noise)
    torch.manual_seed(3)
    found = captured.noise()
    torch.manual_seed(3)
    assert torch.equal(found[0], torch.rand(3))


@pytest.mark.parametrize("shapes", [CASES["one number"], CASES["few"]])
def test_the_draws_of_many_steps_at_once_are_those_of_one_after_another(shapes, plain, batch):
    guide, drawn = drawing(shapes)
    captured = hoisted(guide, plain, batch)
    assert captured.noise is not None
    assert are_small_normals(captured.noise)
    rows = normal_rows(50, sum(shape.numel() for shape in captured.shapes))
    for steps in (1, 2, 7, 50):
        torch.manual_seed(4)
        at_once, state = rows[:steps].normal_(), torch.get_rng_state()
        torch.manual_seed(4)
        for row in at_once:
            guide(batch["y"])
            assert torch.equal(row, torch.cat([one.flatten() for one in drawn]))
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shapes", [CASES["fewer than sixteen and more"], CASES["many"]])
def test_draws_that_torch_makes_in_blocks_are_not_taken_at_once(shapes, plain, batch):
    noise = hoisted(drawing(shapes)[0], plain, batch).noise
    assert noise is not None
    assert not are_small_normals(noise)


def test_a_draw_into_a_tensor_that_has_a_view_already_stays_in_the_graph(plain, batch):
    """The view has the drawn numbers too; against the plain program."""

    def guide(y):  # noqa: ARG001
        kept = torch.zeros(3)
        view = kept[1:]
        kept.normal_()
        pyro.sample("a", dist.Delta(view).to_event(1))

    captured = hoisted(guide, plain, batch)
    torch.manual_seed(3)
    loss = captured.graph(*captured.leaves, *captured.constants, batch["y"], *(captured.noise or list)())[0]
    torch.manual_seed(3)
    torch.testing.assert_close(loss, 0.3 * torch.zeros(3).normal_()[1:].double().sum())

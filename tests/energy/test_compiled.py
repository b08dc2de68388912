"""Compiled transitions against the same ones as written."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.annealing import bridge
from pyrometer.inference.energy.compiled import NotCompiled, compiled, worthwhile
from pyrometer.inference.energy.hmc import evaluator
from pyrometer.inference.energy.landscape import landscape
from pyrometer.inference.energy.starts import prior_start


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
        scale = pyro.sample("scale", dist.HalfCauchy(1.5))
        pyro.sample("y", dist.Normal(z.sin().sum(-1), scale + 0.1), obs=y)


def path_of(program):
    land = landscape(EnergyView(program).bind(torch.tensor([0.3, -0.1])).program, {})
    return bridge(land, prior_start(land), 1.7, "lebesgue")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_compiled_path_gives_the_same_parts_at_other_points():
    path = path_of(model)
    u, other = path.start.draw(5), path.start.draw(5)
    fast, plain = compiled(path.components, u), evaluator(path.components)
    for a, b in zip(fast(other), plain(other), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for a, b in zip(fast(other[:2]), plain(other[:2]), strict=True):  # another shape runs as written
        torch.testing.assert_close(a, b)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_program_whose_python_depends_on_values_is_not_compiled():
    def branching(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            scale = 0.5 if z.sum().item() > 0 else 1.5
            pyro.sample("y", dist.Normal(z, scale), obs=y)

    path = path_of(branching)
    with pytest.raises(NotCompiled):
        compiled(path.components, path.start.draw(4))


def test_compiling_pays_for_long_runs_only():
    path = path_of(model)
    evaluate, u = evaluator(path.components), path.start.draw(4)
    evaluate(u)
    assert not worthwhile(evaluate, u, 10)
    assert worthwhile(evaluate, u, 10**9)

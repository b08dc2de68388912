"""The parts that draws are made in, against what is asked of them."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.diagnostics import posterior_draws
from pyrometer.inference.diagnostics.posterior_draws import part_sizes


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 10, 1000])
def test_parts_are_balanced_and_none_has_one_draw(monkeypatch, most):
    structure = EnergyView(model).bind(torch.zeros(4)).structure
    monkeypatch.setattr(posterior_draws, "ELEMENTS", 8 * most)
    for draws in range(2, 200):
        sizes = part_sizes(structure, draws)
        assert sum(sizes) == draws
        assert 2 <= min(sizes) <= max(sizes) <= min(sizes) + 1
        assert max(sizes) <= max(3, most)
    assert part_sizes(structure, 1) == [1]

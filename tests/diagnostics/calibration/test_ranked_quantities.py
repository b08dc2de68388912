"""What is ranked of each draw, against densities written by hand, and the rank itself."""

import pyro
import pyro.distributions as dist
import torch

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.calibration.ranked_quantities import (
    LOG_JOINT,
    LOG_LIKELIHOOD,
    Quantities,
    randomised_pit,
)
from pyrometer.inference.energy.scoring import Term

Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
SCALES, NOISE = torch.tensor([2.0, 0.7], dtype=torch.float64), 0.5
DRAWS = 4


def local(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(0 * SCALES, SCALES).to_event(1))
        pyro.sample("y", dist.Normal(z.sum(-1), NOISE), obs=y)


def shared(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros(2, 1, dtype=y.dtype), 1.5).to_event(2))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(mu.sum(), SCALES[0]))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)


def ranked(model):
    program = EnergyView(model).bind(Y).program
    return program, Quantities(program.structure)


def test_without_a_shared_latent_every_datum_has_its_own_elements_and_densities():
    program, quantities = ranked(local)
    z = torch.randn(DRAWS, 3, 2, dtype=torch.float64)
    values = quantities.values(program, {"z": z}, 0)
    assert (quantities.by_datum, quantities.posteriors) == (True, 3)
    assert quantities.names == ["z[0]", "z[1]", LOG_JOINT, LOG_LIKELIHOOD]
    likelihood = dist.Normal(z.sum(-1), NOISE).log_prob(Y)
    joint = likelihood + dist.Normal(0 * SCALES, SCALES).log_prob(z).sum(-1)
    torch.testing.assert_close(values, torch.cat([z, joint.unsqueeze(-1), likelihood.unsqueeze(-1)], -1))


def test_with_a_shared_latent_one_datum_stands_for_all_and_densities_are_of_the_total():
    program, quantities = ranked(shared)
    mu, z = torch.randn(DRAWS, 2, 1, dtype=torch.float64), torch.randn(DRAWS, 3, dtype=torch.float64)
    assert (quantities.by_datum, quantities.posteriors) == (False, 1)
    assert quantities.names == ["mu[0, 0]", "mu[1, 0]", "z", LOG_JOINT, LOG_LIKELIHOOD]
    likelihood = dist.Normal(z, NOISE).log_prob(Y).sum(-1)
    prior = dist.Normal(0.0, 1.5).log_prob(mu).sum((1, 2))
    joint = likelihood + prior + dist.Normal(mu.sum((1, 2)).unsqueeze(-1), SCALES[0]).log_prob(z).sum(-1)
    for datum in range(3):
        values = quantities.values(program, {"mu": mu, "z": z}, datum)
        wanted = torch.stack([mu[:, 0, 0], mu[:, 1, 0], z[:, datum], joint, likelihood], -1)
        torch.testing.assert_close(values, wanted.unsqueeze(1))
    everything = quantities.elements({"z": z}, ["z"], None)
    torch.testing.assert_close(everything, z.unsqueeze(1))


def test_log_densities_that_differ_by_rounding_alone_are_ties():
    _, quantities = ranked(local)
    rounding = torch.tensor([0.0, 1e-15, -2e-15, 1e-9], dtype=torch.float64).unsqueeze(-1)

    class Rounded:
        def terms(self, _):
            return {name: Term(0.7 + rounding.expand(DRAWS, 3), True, None) for name in ("z", "y")}

    values = quantities.values(Rounded(), {"z": torch.zeros(DRAWS, 3, 2)}, 0)
    assert (values[0] == values[1]).all()
    assert (values[0] == values[2]).all()
    assert (values[0, :, 2:] != values[3, :, 2:]).all()


def test_the_rank_of_a_tie_is_uniform_and_others_are_in_their_step():
    values = torch.tensor([2.0, 1.0, 2.0, 2.0, 5.0]).unsqueeze(-1).expand(5, 4000)
    pit = randomised_pit(values).numpy()  # one below, two ties: between 1 and 4 fifths
    assert (pit.min() > 0.2, pit.max() < 0.8) == (True, True)
    assert abs(pit.mean() - 0.5) < 4.3 * 0.6 / 12**0.5 / 4000**0.5
    assert abs(pit.std() / (0.6 / 12**0.5) - 1) < 0.05
    three_below = torch.tensor([3.5, 1.0, 2.0, 5.0, 3.0]).unsqueeze(-1).expand(5, 100)
    between = randomised_pit(three_below).numpy()
    assert (between.min() > 0.6, between.max() < 0.8) == (True, True)

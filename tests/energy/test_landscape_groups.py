"""Which data are independent given what is fixed: a plate promises it, and a program may break the promise."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.inference.energy.landscape import landscape


def real(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64)


Y = real(0.3, -1.2, 2.1)


def land_of(program, *args):
    return landscape(EnergyView(program).bind(*args).program, {})


def centred(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
        pyro.sample("y", dist.Normal(z - 0.5 * z.mean(-1, keepdim=True), 0.7), obs=y)


def lagged(y):
    """A datum meets the latent of the one after next."""
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
        pyro.sample("y", dist.Normal(z + 0.5 * z.roll(2, -1), 0.7), obs=y)


def total_outside(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
        pyro.sample("y", dist.Normal(z, 0.7), obs=y)
    pyro.sample("total", dist.Normal(z.sum(-1), 0.9), obs=real(1.5))


def last_shared(y):
    """A prior that the data share: the latent of the first datum."""
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
        pyro.sample("y", dist.Normal(z + 0.3 * z[..., :1], 0.7), obs=y)


def identity(rows):
    return torch.eye(rows, dtype=torch.float64)


@pytest.mark.parametrize(
    ("program", "mixing"),
    [
        (centred, identity(3) - 0.5 / 3),
        (lagged, identity(3) + 0.5 * identity(3).roll(2, 0)),
        (total_outside, torch.cat([identity(3), torch.ones(1, 3).double()])),
        (last_shared, identity(3) + 0.3 * torch.tensor([[1.0, 0, 0]]).double()),
    ],
)
def test_data_that_meet_in_spite_of_the_plate_are_one_group(program, mixing):
    """Oracle: the data are jointly normal, with the covariance M (2^2) M^T + s^2."""
    land = land_of(program, Y)
    assert not land.by_datum
    assert land.dimension == 3
    data = torch.cat([Y, real([1.5])]) if program is total_outside else Y
    noise = real(0.7, 0.7, 0.7, 0.9)[: len(data)]
    joint = dist.MultivariateNormal(0.5 * mixing.sum(-1), 4 * mixing @ mixing.mT + torch.diag(noise.square()))
    found = EnergyView(program).bind(Y).free_energy(method="quadrature")
    assert found.per_datum is None
    torch.testing.assert_close(found.value, -joint.log_prob(data))


@pytest.mark.parametrize("data", [1, 2, 5, 9])
def test_each_pair_of_data_is_looked_at(data):
    """One datum's latent enters one other's energy: found wherever the two are."""
    for source in range(data):
        for target in set(range(data)) - {source}:

            def program(source=source, target=target):
                with pyro.plate("data", data):
                    z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
                    extra = torch.zeros(data).double().index_fill(0, torch.tensor(target), 1.0) * z[..., source, None]
                    pyro.sample("y", dist.Normal(z + extra, 0.7), obs=torch.zeros(data).double())

            assert not land_of(program).by_datum

    def program():
        with pyro.plate("data", data):
            z = pyro.sample("z", dist.Normal(real(0.5), 2.0))
            pyro.sample("y", dist.Normal(z, 0.7), obs=torch.zeros(data).double())

    assert land_of(program).by_datum


def test_a_discrete_latent_that_the_program_reduces_over_is_refused():
    """With all its values along an axis of its own, k.sum(-1) is another number."""

    def program(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Bernoulli(real(0.3)))
            z = pyro.sample("z", dist.Normal(k, 1.3))
            pyro.sample("y", dist.Normal(z, 0.7), obs=y)
        pyro.sample("count", dist.Normal(k.sum(-1), 0.9), obs=real(1.2))

    with pytest.raises(ValueError, match="the site 'count' has another log-probability"):
        land_of(program, Y)

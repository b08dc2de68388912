"""Free energies at several values of latents held fixed, against the closed form of a Gaussian hierarchy."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView

Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)


def model(y):
    mean = pyro.sample("mean", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(mean, 0.7))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def test_leading_dimensions_of_given_latents_are_draws():
    mean = torch.tensor([[0.0, 1.0], [2.0, -0.5]], dtype=torch.float64)
    found = EnergyView(model).bind(Y).free_energy(given={"mean": mean})
    local = -dist.Normal(mean.unsqueeze(-1), (0.49 + 0.25) ** 0.5).log_prob(Y)
    common = -dist.Normal(0.0, 2.0).log_prob(mean)
    torch.testing.assert_close(found.per_datum, local)
    torch.testing.assert_close(found.common, common)
    torch.testing.assert_close(found.value, common + local.sum(-1))
    assert (found.method, found.standard_error.shape) == ("quadrature", (2, 2))


def test_given_latents_must_fit_their_site():
    def vector(y):
        mean = pyro.sample("mean", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(mean.sum(), 0.7))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    view = EnergyView(vector).bind(Y)
    with pytest.raises(ValueError, match=r"given\['mean'\] has shape \(3,\); its trailing dimensions must be"):
        view.free_energy(given={"mean": torch.zeros(3)})
    with pytest.raises(ValueError, match="there is no draw in it"):
        view.free_energy(given={"mean": torch.zeros(0, 2)})
    with pytest.raises(ValueError, match="which free_energy takes"):
        view.zero_temperature(given={"mean": torch.zeros(3, 2)})

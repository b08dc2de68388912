"""Energies against densities written by hand with torch.distributions, on programs of every layout."""

import math

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
import torch.distributions as td
from torch import nn

from pyrometer import EnergyView

Y = torch.tensor([0.3, -0.1, 1.2], dtype=torch.float64)
PRIOR_SCALE, NOISE = 2.0, 0.5  # never 1: there scale = variance = precision


def normal_mean(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, NOISE), obs=y)


def local_latents(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)


def minus_log_normal(x, loc, scale):
    return 0.5 * ((x - loc) / scale) ** 2 + math.log(scale) + 0.5 * math.log(2 * math.pi)


def test_energy_is_minus_the_log_joint_written_by_hand():
    mu = torch.tensor(0.7, dtype=torch.float64)
    by_hand = minus_log_normal(mu, 0.0, PRIOR_SCALE) + minus_log_normal(Y, mu, NOISE).sum()
    torch.testing.assert_close(EnergyView(normal_mean).bind(Y).energy({"mu": mu}), by_hand)


def test_leading_dimensions_are_draws_and_terms_add_up():
    view = EnergyView(normal_mean).bind(Y)
    mu = torch.randn(2, 5, dtype=torch.float64)
    terms = view.terms({"mu": mu})
    assert terms["mu"].shape == (2, 5)
    assert terms["y"].shape == (2, 5, 3)
    torch.testing.assert_close(terms["y"], minus_log_normal(Y, mu[..., None], NOISE))
    torch.testing.assert_close(view.global_energy({"mu": mu}), terms["mu"])
    torch.testing.assert_close(view.energy_per_datum({"mu": mu}), terms["y"])
    torch.testing.assert_close(view.energy({"mu": mu}), terms["mu"] + terms["y"].sum(-1))
    assert view.vectorization["taken"] == ["vmap"]


def test_local_latents_have_energies_per_datum_and_no_global_energy():
    view = EnergyView(local_latents).bind(Y)
    z = torch.randn(4, 3, dtype=torch.float64)
    by_hand = minus_log_normal(z, 0.0, PRIOR_SCALE) + minus_log_normal(Y, z, NOISE)
    torch.testing.assert_close(view.energy_per_datum({"z": z}), by_hand)
    assert view.global_energy({"z": z}).tolist() == [0.0] * 4


def test_energy_is_differentiable_in_latents_and_in_parameters():
    noise = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, noise), obs=y)

    mu = torch.tensor([0.7, -2.0], dtype=torch.float64, requires_grad=True)
    EnergyView(model).bind(Y).energy({"mu": mu}).sum().backward()
    residual = Y - mu.detach()[:, None]
    torch.testing.assert_close(mu.grad, mu.detach() / PRIOR_SCALE**2 - residual.sum(-1) / 0.5**2)
    torch.testing.assert_close(noise.grad, (1 / 0.5 - residual**2 / 0.5**3).sum())


def test_a_factor_a_mask_and_the_users_scale_are_part_of_the_energy():
    mask = torch.tensor([True, False, True])

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        pyro.factor("bump", -3.0 * mu**2)
        with pyro.plate("data", len(y)), poutine.mask(mask=mask), poutine.scale(scale=0.25):
            pyro.sample("y", dist.Normal(mu, NOISE), obs=y)

    mu = torch.tensor([0.7, -2.0], dtype=torch.float64)
    view = EnergyView(model).bind(Y)
    by_datum = 0.25 * minus_log_normal(Y, mu[:, None], NOISE) * mask
    torch.testing.assert_close(view.energy_per_datum({"mu": mu}), by_datum)
    torch.testing.assert_close(view.global_energy({"mu": mu}), minus_log_normal(mu, 0.0, PRIOR_SCALE) + 3 * mu**2)


def test_a_mask_of_the_distribution_counts_like_a_mask_of_the_site():
    mask = torch.tensor([True, False, True])

    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE).mask(mask))
            pyro.sample("y", dist.Normal(z, NOISE).mask(mask), obs=y)

    z = torch.randn(4, 3, dtype=torch.float64)
    by_hand = (minus_log_normal(z, 0.0, PRIOR_SCALE) + minus_log_normal(Y, z, NOISE)) * mask
    torch.testing.assert_close(EnergyView(model).bind(Y).energy_per_datum({"z": z}), by_hand)


def test_subsampling_scales_the_total_and_never_the_energies_per_datum():
    def model(y):
        with pyro.plate("data", 30, subsample=torch.arange(3)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
            pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    view = EnergyView(model).bind(Y)
    z = torch.randn(4, 3, dtype=torch.float64)
    by_hand = minus_log_normal(z, 0.0, PRIOR_SCALE) + minus_log_normal(Y, z, NOISE)
    torch.testing.assert_close(view.energy_per_datum({"z": z}), by_hand)
    torch.testing.assert_close(view.energy({"z": z}), 10 * by_hand.sum(-1))


def test_every_draw_sees_the_same_random_subsample():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        with pyro.plate("data", len(y), subsample_size=2) as chosen:
            pyro.sample("y", dist.Normal(mu, NOISE), obs=y[chosen])

    view = EnergyView(model).bind(Y)
    mu = torch.tensor(0.7, dtype=torch.float64)
    draws = view.energy_per_datum({"mu": mu.expand(50)})
    assert draws.unique(dim=0).shape == (1, 2)


def test_a_plate_of_another_name_is_found_and_reported():
    def model(y):
        with pyro.plate("cells", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
            pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    assert EnergyView(model).bind(Y).plate == "cells"
    assert EnergyView(model, plate=None).bind(Y).plate is None


def test_a_sequential_data_plate_gives_energies_in_its_order():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        for n in pyro.plate("data", len(y)):
            pyro.sample(f"y_{n}", dist.Normal(mu, NOISE), obs=y[n])

    mu = torch.tensor([0.7, -2.0], dtype=torch.float64)
    view = EnergyView(model).bind(Y)
    torch.testing.assert_close(view.energy_per_datum({"mu": mu}), minus_log_normal(Y, mu[:, None], NOISE))


def test_nested_plates_sum_into_the_data_plate():
    y = torch.randn(4, 3, dtype=torch.float64)

    def model(y):
        with pyro.plate("rows", 4, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
            with pyro.plate("data", 3, dim=-1):
                pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    z = torch.randn(5, 4, 1, dtype=torch.float64)
    view = EnergyView(model).bind(y)
    torch.testing.assert_close(view.energy_per_datum({"z": z}), minus_log_normal(y, z, NOISE).sum(-2))
    rows = EnergyView(model, plate="rows").bind(y)
    by_row = minus_log_normal(z, 0.0, PRIOR_SCALE).squeeze(-1) + minus_log_normal(y, z, NOISE).sum(-1)
    torch.testing.assert_close(rows.energy_per_datum({"z": z}), by_row)


def test_a_program_that_mixes_its_plate_is_not_scored_along_an_outer_plate():
    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
        with pyro.plate("data2", len(y)):
            # The mean over everything is another number when draws stand in front; .item() refuses vmap.
            pyro.sample("y", dist.Normal(z - z.mean().item(), NOISE), obs=y)

    z = torch.randn(6, 3, dtype=torch.float64)
    view = EnergyView(model, plate=None).bind(Y)
    centred = z - z.mean(-1, keepdim=True)
    by_hand = (minus_log_normal(z, 0.0, PRIOR_SCALE) + minus_log_normal(Y, centred, NOISE)).sum(-1)
    torch.testing.assert_close(view.energy({"z": z}), by_hand)
    assert view.vectorization["taken"] == ["loop"]
    assert "other energies" in view.vectorization["refused"]["plate"]


def test_an_outer_plate_serves_where_vmap_cannot():
    def model(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR_SCALE))
            if not bool((z > -1e9).all()):
                raise AssertionError
            pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    z = torch.randn(6, 3, dtype=torch.float64)
    view = EnergyView(model).bind(Y)
    by_hand = (minus_log_normal(z, 0.0, PRIOR_SCALE) + minus_log_normal(Y, z, NOISE)).sum(-1)
    torch.testing.assert_close(view.energy({"z": z}), by_hand)
    assert view.vectorization["taken"] == ["plate"]


def test_the_way_of_vectorising_is_decided_once_and_kept_when_bound_again():
    runs = []

    def model(y):
        runs.append(1)
        local_latents(y)

    view = EnergyView(model)
    z = torch.randn(6, 3, dtype=torch.float64)
    view.bind(Y).energy({"z": z})
    runs.clear()
    again = view.bind(Y + 1)
    again.energy({"z": z})
    assert len(runs) == 2  # the probe and one vectorised run


def test_a_value_outside_its_support_has_infinite_energy_and_no_other_draw_is_touched():
    def model(y):
        scale = pyro.sample("scale", dist.Gamma(torch.tensor(3.0, dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(0.2, scale), obs=y)

    scale = torch.tensor([0.5, -0.5, 2.0], dtype=torch.float64)
    energy = EnergyView(model).bind(Y).energy({"scale": scale})
    gamma = td.Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0)
    good = scale[[0, 2]]
    by_hand = -gamma.log_prob(good) - td.Normal(0.2, good[:, None]).log_prob(Y).sum(-1)
    assert energy[1] == math.inf
    torch.testing.assert_close(energy[[0, 2]], by_hand)


def test_a_value_that_its_mask_leaves_out_may_lie_outside_its_support():
    mask = torch.tensor([True, False, True])

    def model(y):
        with pyro.plate("data", len(y)), poutine.mask(mask=mask):
            scale = pyro.sample("scale", dist.Gamma(torch.tensor(3.0, dtype=y.dtype), 2.0))
            pyro.sample("y", dist.Normal(0.2, scale.abs() + 0.1), obs=y)

    padded = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    energy = EnergyView(model).bind(Y).energy_per_datum({"scale": padded})
    gamma = td.Gamma(torch.tensor(3.0, dtype=torch.float64), 2.0)
    good = padded[[0, 2]]
    by_hand = -gamma.log_prob(good) - td.Normal(0.2, good + 0.1).log_prob(Y[[0, 2]])
    torch.testing.assert_close(energy[[0, 2]], by_hand)
    assert energy[1] == 0


def test_binding_leaves_the_random_state_as_it_was():
    state = torch.get_rng_state()
    EnergyView(normal_mean).bind(Y)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_missing_latent_is_named():
    with pytest.raises(ValueError, match=r"latents lack \['mu'\]"):
        EnergyView(normal_mean).bind(Y).energy({})


def test_an_unknown_or_observed_latent_is_named():
    view = EnergyView(normal_mean).bind(Y)
    with pytest.raises(ValueError, match="'nu', which is no site"):
        view.energy({"mu": torch.zeros(()), "nu": torch.zeros(())})
    with pytest.raises(ValueError, match="'y', which is an observed site"):
        view.energy({"mu": torch.zeros(()), "y": torch.zeros(3)})


def test_a_latent_of_the_wrong_shape_is_named_with_both_shapes():
    with pytest.raises(ValueError, match=r"latents\['z'\] has shape \(4, 2\).*\(3,\)"):
        EnergyView(local_latents).bind(Y).energy({"z": torch.zeros(4, 2)})


def test_a_program_in_training_mode_is_refused():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, y):
            pyro.sample("y", dist.Normal(self.norm(y), NOISE).to_event(2), obs=y)

    with pytest.raises(ValueError, match=r"'norm' \(BatchNorm1d\) of Model is in training mode"):
        EnergyView(Model()).bind(torch.randn(3, 2))


def test_energies_per_datum_without_a_data_plate_are_refused():
    with pytest.raises(ValueError, match="no data plate"):
        EnergyView(normal_mean, plate=None).bind(Y).energy_per_datum({"mu": torch.zeros(())})


def test_a_mask_changed_in_place_after_its_site_is_noticed():
    def model(y):
        mask = torch.ones(3, dtype=torch.bool)
        with pyro.plate("data", 3):
            pyro.sample("y", dist.Normal(0.0, NOISE).mask(mask), obs=y)
        mask &= False

    with pytest.warns(UserWarning, match="mask of site 'y' is changed in place"):
        EnergyView(model).bind(Y)


def test_a_model_that_is_no_callable_is_refused():
    with pytest.raises(TypeError, match="got int"):
        EnergyView(3)

"""The auto-encoder and the importance-weighted one, on the embedded digits."""

import pytest
import torch

from pyrometer import EnergyView
from pyrometer.guides import GaussianEncoder, PointEncoder
from pyrometer.models import VAE
from pyrometer.recipes.autoencoder import energy_and_distortion
from pyrometer.recipes.iwae import recipe as iwae
from pyrometer.recipes.iwae import tighter_bound
from pyrometer.recipes.run import run


def test_the_energy_at_the_encoders_point_is_the_views_and_the_loss(tmp_path):
    small = {"hidden": 30, "latents": 2, "seed": 3}
    recipe, result, summary = run("autoencoder", small, tmp_path / "run", epochs=6, progress=False)
    assert result.history[-1]["validation_energy"] < result.history[0]["validation_energy"] - 3
    model, guide, image = recipe.model, recipe.guide, recipe.held_out["image"][:50]
    with torch.no_grad():
        energy, distortion = energy_and_distortion(model, guide, image)
        code = guide.distribution(image).mean
        bound = EnergyView(model).bind(image)
        torch.testing.assert_close(bound.energy_per_datum({"code": code}), energy)
        terms = bound.terms({"code": code})
    torch.testing.assert_close(terms["image"], distortion)
    assert {"test_energy", "test_distortion"} <= summary.keys()
    assert (tmp_path / "run" / "pictures" / "code_plane.png").exists()


def test_a_point_encoder_gives_an_upper_bound_of_the_least_energy():
    model, guide, image = VAE((8, 8), 2, 10), PointEncoder((8, 8), 2, 10), torch.rand(4, 8, 8).round()
    lowest = EnergyView(model).bind(image).zero_temperature().per_datum
    assert (energy_and_distortion(model, guide, image)[0] >= lowest - 1e-4).all()


def test_more_draws_tighten_the_bound_of_an_untrained_pair():
    """Oracle: F_1 by importance with many draws."""
    made = iwae(draws=3, hidden=20, latents=2)
    model, guide, image = made.model.eval(), made.guide.eval(), made.held_out["image"][:300]
    few = tighter_bound(made.objective, model, guide, image)
    many = tighter_bound(iwae(draws=100, hidden=20, latents=2).objective, model, guide, image)
    with torch.no_grad():
        exact = -EnergyView(model).bind(image).free_energy(method="quadrature").value.item() / 300
    assert few < many
    assert many == pytest.approx(exact, abs=0.5)


def test_a_short_run_of_iwae_reaches_more_than_it_starts_with(tmp_path):
    small = {"hidden": 20, "latents": 2, "seed": 3, "draws": 5}
    recipe, result, summary = run("iwae", small, tmp_path / "run", epochs=3, progress=False)
    assert isinstance(recipe.guide, GaussianEncoder)
    assert result.history[-1]["validation_bound"] > result.history[0]["validation_bound"] + 1
    assert summary["test_bound"] < 0

"""The recipe on the embedded digits: its scores against the energy view, and beside a Gaussian's closed form."""

import pytest
import torch

from pyrometer.guides import FlowEncoder, GaussianEncoder
from pyrometer.models import VAE
from pyrometer.recipes.run import open_run, run
from pyrometer.recipes.vae import rate_and_distortion
from pyrometer.recipes.vae import recipe as vae
from pyrometer.recipes.vae_flow import drawn_rate, recipe

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


def test_a_run_reaches_more_than_it_starts_with_and_leaves_its_numbers_and_pictures(tmp_path):
    small = {"hidden": 30, "latents": 2, "seed": 3}
    made, result, summary = run("vae_flow", small, tmp_path / "run", epochs=6, progress=False)
    elbos = [row["validation_elbo"] for row in result.history]
    assert isinstance(made.guide, FlowEncoder)
    assert elbos[-1] > elbos[0] + 3
    assert summary["free_energy"] < -summary["elbo"] + SIGMAS * summary["elbo_error"]
    assert summary["test_elbo"] == pytest.approx(-(summary["test_rate"] + summary["test_distortion"]), abs=1e-5)
    assert {path.stem for path in (tmp_path / "run" / "pictures").glob("*.png")} == {"samples", "code_plane"}
    image = made.held_out["image"][:7]
    code = torch.randn(7, 2)
    again = open_run(tmp_path / "run").recipe.guide.distribution(image).log_prob(code)
    torch.testing.assert_close(again, made.guide.distribution(image).log_prob(code))


def test_the_data_and_the_settings_are_those_of_vae():
    flow, gaussian = recipe(seed=3, couplings=3), vae(seed=3)
    assert torch.equal(flow.data["image"], gaussian.data["image"])
    assert torch.equal(flow.held_out["image"], gaussian.held_out["image"])
    assert torch.equal(flow.validation["image"], gaussian.validation["image"])
    assert (flow.epochs, flow.batch_size) == (gaussian.epochs, gaussian.batch_size)
    assert len(flow.guide.couplings) == 3
    assert flow.model.latents == flow.guide.latents == gaussian.guide.latents


def test_drawn_parts_of_the_bound_are_in_the_mean_those_of_a_gaussian_in_closed_form():
    """Oracle: an untrained flow is a Gaussian, whose divergence is a formula."""
    model, flow, gaussian = VAE((8, 8), 3, 6), FlowEncoder((8, 8), 3, 6), GaussianEncoder((8, 8), 3, 6)
    with torch.no_grad():
        for ours, theirs in zip(flow.encoder.parameters(), gaussian.encoder.parameters(), strict=True):
            theirs.copy_(ours[: len(theirs)])
    image = torch.rand(4, 8, 8).round()
    drawn = torch.stack([torch.stack(rate_and_distortion(model, flow, image, drawn_rate)) for _ in range(300)])
    exact = torch.stack([torch.stack(rate_and_distortion(model, gaussian, image)) for _ in range(300)])
    error = (drawn.var(0) / 300 + exact.var(0) / 300).sqrt()
    assert ((drawn.mean(0) - exact.mean(0)).abs() < SIGMAS * error).all()
    assert exact[:, 0].var(0).max() == 0  # the closed form
    assert drawn.shape == (300, 2, 4)

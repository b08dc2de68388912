"""The recipe: its data, what it trains, and its pictures."""

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pyrometer.guides import Responsibilities
from pyrometer.models import GaussianMixture, KMeans
from pyrometer.models.kmeans import em_step
from pyrometer.recipes import Recipe
from pyrometer.recipes.deterministic_annealing import anneal, cooling
from pyrometer.recipes.kmeans import recipe
from pyrometer.recipes.kmeans_pictures import draw_splits, kmeans_pictures, split_betas
from pyrometer.recipes.run import run

SMALL = {"data": "blobs", "components": 3, "size": 60}


def test_a_run_keeps_lloyds_prototypes_and_its_guide_learns(tmp_path):
    """At zero temperature the annealed start is at rest; the guide's loss falls towards F_1."""
    made, result, summary = run("kmeans", {**SMALL, "seed": 3}, tmp_path / "run", epochs=30, progress=False)
    model, y = made.model, made.data["features"]
    torch.testing.assert_close(model.prototypes.detach(), em_step(y, model.prototypes.detach()), rtol=1e-3, atol=0.1)
    assert summary["used_prototypes"] == 3
    assert summary["train_distance"] == pytest.approx(model.inertia(y).item() / 60, rel=1e-5)
    assert result.history[-1]["loss"] < result.history[0]["loss"] - 1
    assert {path.stem for path in (tmp_path / "run" / "pictures").glob("*.png")} == {"prototypes", "annealing"}


@pytest.mark.parametrize("temperature", [0.0, 0.4])
def test_prototypes_follow_the_free_energy_and_the_guide_its_own_bound(temperature):
    """The loss is F_beta, by the closed form, and -ELBO; only the guide's parameters feel KL(q, p_1)."""
    made = recipe(**SMALL, temperature=temperature, annealed=False)
    model, guide, y = made.model, made.guide, made.data["features"]
    found = torch.autograd.grad(made.objective(model, guide, features=y), [model.prototypes, *guide.parameters()])
    beta = 1 / temperature if temperature else math.inf
    own = model.free_energy(y, beta).sum()
    q = guide.distribution(y)
    kl = (q.probs * (q.logits - (-model.squared_distances(y).detach()).log_softmax(-1))).sum()
    torch.testing.assert_close(found[0], torch.autograd.grad(own, model.prototypes)[0], rtol=1e-4, atol=1e-3)
    of_guide = torch.autograd.grad(kl, list(guide.parameters()))
    torch.testing.assert_close(found[1:], of_guide, rtol=1e-3, atol=0.05)


@pytest.mark.parametrize(
    ("data", "dimensions", "components"), [("spiral", 2, 16), ("blobs", 2, 12), ("digits", 64, 10)]
)
def test_every_data_set_has_prototypes_that_suit_it(data, dimensions, components):
    made = recipe(data=data, annealed=False, size=100)
    assert made.model.prototypes.shape == (components, dimensions)
    train, test = made.data["features"], made.held_out["features"]
    assert train.shape[1] == test.shape[1] == dimensions
    assert not (train[:, None] == test[None]).all(-1).any()


def test_an_unknown_data_set_and_a_negative_temperature_are_refused():
    with pytest.raises(ValueError, match="'data' must be one of spiral, blobs, digits, got 'rings'"):
        recipe(data="rings")
    with pytest.raises(ValueError, match="'temperature' must not be negative, got -1"):
        recipe(**SMALL, annealed=False, temperature=-1.0)


def test_pictures_show_the_prototypes_and_refuse_other_pairs():
    digit = recipe(data="digits", annealed=False)
    (image,) = kmeans_pictures(digit.data["features"])["prototypes"](digit).axes[0].images
    shown = np.asarray(image.get_array())[:, :8]
    np.testing.assert_allclose(shown, digit.model.prototypes[0].detach().reshape(8, 8))
    flat = recipe(**SMALL, annealed=False)
    points = kmeans_pictures(flat.data["features"])["prototypes"](flat).axes[0].collections[-1].get_offsets()
    np.testing.assert_allclose(np.asarray(points), flat.model.prototypes.detach())
    other = Recipe(GaussianMixture(torch.randn(3, 2)), Responsibilities(2, 3), {}, {}, 1)
    with pytest.raises(TypeError, match="must have a KMeans and a Responsibilities for its kmeans_pictures"):
        kmeans_pictures(torch.randn(5, 2))["prototypes"](other)


def test_the_tree_of_splits_goes_from_the_mean_to_the_last_prototypes():
    y = torch.cat([torch.randn(40, 2), torch.randn(40, 2) + 6.0])
    trajectory = anneal(y, 2, cooling(y, rate=1.1), steps=100).trajectory
    axes = Figure().subplots()
    draw_splits(axes, trajectory, y)
    ends = [line.get_ydata() for line in axes.lines[:2]]
    assert max(abs(end[0]) for end in ends) < 0.1
    apart = trajectory.prototypes.isel(seed=0, beta=-1).diff("component").values
    assert abs(ends[0][-1] - ends[1][-1]) == pytest.approx(np.linalg.norm(apart), rel=0.02)
    (split,) = split_betas(trajectory)
    assert len(axes.lines) == 3
    assert axes.lines[2].get_xdata()[0] == split


def test_an_annealed_start_lies_no_higher_than_one_of_data():
    made = recipe(**SMALL)
    assert isinstance(made.model, KMeans)
    y = made.data["features"]
    assert made.model.inertia(y).item() <= recipe(**SMALL, annealed=False).model.inertia(y).item()

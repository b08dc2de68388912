"""The recipe on digits and shapes: its scores against the objective, its pictures against the pair's own layers."""

import numpy as np
import pytest
import torch

from pyrometer.data import digits, shapes, train_test_split
from pyrometer.guides import GaussianEncoder, KindAndCode
from pyrometer.inference.diagnostics import mutual_information, mutual_information_gap
from pyrometer.inference.svi.random_state import get_random_state
from pyrometer.models import VAE, FactorAnalysis, KindAndCodeVAE
from pyrometer.recipes import Recipe
from pyrometer.recipes.hfvae import recipe
from pyrometer.recipes.run import run
from pyrometer.recipes.traversal_pictures import information, kinds, traversal_pictures, traversals

TERMS = ("reconstruction", "information_kind", "information_code", "between", "within_code", "marginal")


@pytest.fixture
def test():
    return train_test_split(digits(), seed=3).test


def recipe_of(latents=3, kinds=4):
    """A pair with its own weights, or without kinds; nothing is trained."""
    if kinds:
        model, guide = KindAndCodeVAE((8, 8), kinds, latents, hidden=6), KindAndCode((8, 8), kinds, latents, hidden=6)
    else:
        model, guide = VAE((8, 8), latents, hidden=6), GaussianEncoder((8, 8), latents, hidden=6)
    return Recipe(model=model, guide=guide, data={}, held_out={}, epochs=1)


def image_in(figure, axes=0):
    (shown,) = figure.axes[axes].images
    return np.asarray(shown.get_array())


def test_a_run_on_digits_reaches_more_than_it_starts_with_and_leaves_terms_and_pictures(tmp_path):
    small = {"hidden": 20, "latents": 2, "kinds": 4, "seed": 3}
    made, result, summary = run("hfvae", small, tmp_path / "run", epochs=5, progress=False, compile=False)
    elbos = [row["validation_elbo"] for row in result.history]
    assert elbos[-1] > elbos[0] + 3
    assert summary["test_elbo"] == pytest.approx(-sum(summary[f"test_{name}"] for name in TERMS), abs=1e-5)
    assert 0 < summary["test_accuracy"] < 1
    assert "mig" not in summary
    assert {path.stem for path in (tmp_path / "run" / "pictures").glob("*.png")} == set(made.pictures)


def test_settings_become_weights_of_the_objective():
    objective = recipe(weights="information/kind=-0.2, between=7,marginal=3").objective
    names = ("information/kind", "information/code", "between", "within/code", "marginal/code[1]", "reconstruction")
    assert [objective.weight(name) for name in names] == [-0.2, 1.0, 7.0, 1.0, 3.0, 1.0]
    assert objective.size == len(recipe().data["image"]) == 1122  # of 1,347 training images a sixth is held back
    assert recipe().objective.weight("information/kind") == 0.3


def test_shapes_are_trained_on_in_part_and_the_gap_is_that_of_the_whole_grid():
    made, grid = recipe(data="shapes", kinds=1, hidden=10, latents=2, seed=3), shapes()
    validation = made.validation["image"]
    parts = torch.cat([made.data["image"], validation, made.held_out["image"]])
    assert len(parts.flatten(1).unique(dim=0)) == len(parts) == len(grid)
    scores = made.score(made.model, made.guide)
    gap = mutual_information_gap(made.guide, {"image": grid.image}, grid.factors, draws=2)
    assert scores["mig"] == pytest.approx(gap.mig.item(), abs=4.3 * 2**0.5 * gap.mig_error.item())
    assert recipe(data="shapes").model.kinds == 3


def test_a_setting_of_zero_is_what_suits_the_data_and_another_is_taken():
    assert (recipe().model.kinds, recipe().model.latents) == (10, 5)
    made = recipe(kinds=7, latents=3, hidden=11, epochs=9, learning_rate=0.02)
    assert (made.model.kinds, made.guide.kinds, made.model.latents, made.epochs) == (7, 7, 3, 9)
    assert made.optimizer(list(made.model.parameters())).param_groups[0]["lr"] == 0.02


def test_unknown_data_and_weights_are_refused():
    with pytest.raises(ValueError, match="'data' must be digits, mnist or shapes, got 'letters'"):
        recipe(data="letters")
    with pytest.raises(ValueError, match="must be like 'between=4.*got 'between:4'"):
        recipe(weights="between:4")
    with pytest.raises(ValueError, match="must name terms.*got 'tc'"):
        recipe(weights="tc=4")


@pytest.mark.parametrize("kinds", [0, 4])
def test_pictures_are_the_same_each_time_and_leave_random_numbers_alone(test, kinds):
    made = recipe_of(kinds=kinds)
    for name, draw in traversal_pictures(test, kinds_too=kinds > 0).items():
        before = get_random_state()["torch"]
        first, second = draw(made), draw(made)
        assert torch.equal(before, get_random_state()["torch"]), name
        if name != "information":
            assert np.array_equal(image_in(first), image_in(second)), name


@pytest.mark.parametrize("kinds", [0, 4])
def test_each_row_of_a_traversal_moves_one_dimension_and_those_that_know_most_come_first(test, kinds):
    made = recipe_of(kinds=kinds)
    with torch.no_grad():
        code = (made.guide.distributions(test.image[:1])[1] if kinds else made.guide.distribution(test.image[:1])).mean
        first = () if not kinds else (made.guide.distributions(test.image[:1])[0].logits.argmax(-1),)
        figure = traversals(test, made, steps=5)
        labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        order = [int(label.split(":")[0]) for label in labels]
        known = mutual_information(made.guide, {"image": test.image}, draws=2).information
        found = [known.sel(latent=f"code[{d}]").item() for d in order]
        assert found == pytest.approx(sorted(found, reverse=True), abs=0.05)
        moved = code.clone()
        moved[0, order[1]] = 2.0  # in the second row, to the far right
        expected = made.model.decode(*first, moved)[0].sigmoid()
    np.testing.assert_allclose(image_in(figure)[9:17, 36:], expected.numpy(), atol=1e-6)


def test_kinds_hold_the_code_and_change_the_kind(test):
    made = recipe_of()
    figure = kinds(test, made)
    with torch.no_grad():
        kind, code = made.guide.distributions(test.image[test.digit == 0][:1])
        expected = made.model.decode(torch.tensor([3]), code.mean)[0].sigmoid()
    np.testing.assert_allclose(image_in(figure, 1)[:8, 27:], expected.numpy(), atol=1e-6)  # of the first digit
    assert len(figure.axes[1].patches) == 10
    framed = figure.axes[1].patches[0].get_x()
    assert round((framed + 0.5) / 9) == kind.logits.argmax().item()


def test_bars_are_the_information_of_each_latent(test):
    made = recipe_of()
    figure = information(test, made)
    bars = {
        label.get_text(): bar.get_width()
        for label, bar in zip(figure.axes[0].get_yticklabels(), figure.axes[0].patches, strict=True)
    }
    known = mutual_information(made.guide, {"image": test.image}, draws=4)
    for name, width in bars.items():
        one = known.sel(latent=name)
        assert width == pytest.approx(one.information.item(), abs=4.3 * 2**0.5 * one.error.item() + 1e-6)
    assert list(bars.values()) == sorted(bars.values(), reverse=True)


def test_pictures_need_one_of_these_pairs(test):
    other = Recipe(model=FactorAnalysis(4, 2), guide=recipe_of().guide, data={}, held_out={}, epochs=1)
    with pytest.raises(TypeError, match="got FactorAnalysis and KindAndCode"):
        traversals(test, other)
    with pytest.raises(TypeError, match="got VAE and GaussianEncoder"):
        kinds(test, recipe_of(kinds=0))

"""The recipe on the embedded digits: its data against the originals, its scores against the energy view."""

import json

import numpy as np
import pytest
import torch

from pyrometer import EnergyView
from pyrometer.data import digits, train_test_split
from pyrometer.guides import GaussianEncoder
from pyrometer.inference.svi.random_state import get_random_state
from pyrometer.models import VAE, FactorAnalysis
from pyrometer.recipes import Recipe
from pyrometer.recipes.code_pictures import code_pictures, code_plane, render
from pyrometer.recipes.digit_pictures import first_of_each
from pyrometer.recipes.run import open_run, run
from pyrometer.recipes.vae import binarised, decay, rate_and_distortion, recipe

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim


@pytest.fixture
def test():
    return train_test_split(digits(), seed=3).test


def recipe_of(test, latents, shape=(8, 8)):
    """A pair with its own weights; nothing is trained."""
    model, guide = VAE(shape, latents=latents, hidden=6), GaussianEncoder(shape, latents=latents, hidden=6)
    return Recipe(model=model.eval(), guide=guide.eval(), data={}, held_out={"image": test.image}, epochs=1)


def image_in(figure, axes=0):
    (shown,) = figure.axes[axes].images
    return np.asarray(shown.get_array())


def test_a_run_reaches_more_than_it_starts_with_and_leaves_its_numbers_and_pictures(tmp_path):
    small = {"hidden": 30, "latents": 2, "seed": 3}
    _, result, summary = run("vae", small, tmp_path / "run", epochs=8, progress=False)
    elbos = [row["validation_elbo"] for row in result.history]
    assert elbos[-1] > elbos[0] + 3
    assert summary["free_energy"] < -summary["elbo"] + SIGMAS * summary["elbo_error"]
    assert summary["test_elbo"] == pytest.approx(-(summary["test_rate"] + summary["test_distortion"]), abs=1e-5)
    assert summary["active_latents"] in (1, 2)
    drawn = {path.stem for path in (tmp_path / "run" / "pictures").glob("*.png")}
    assert drawn == {"reconstructions", "samples", "code_plane"}
    opened = open_run(tmp_path / "run")
    rate, distortion = rate_and_distortion(opened.recipe.model, opened.recipe.guide, opened.recipe.held_out["image"])
    assert rate.mean().item() == pytest.approx(summary["test_rate"], rel=1e-5)
    assert -(rate + distortion).mean().item() == pytest.approx(summary["test_elbo"], abs=0.5)  # other draws
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["settings"]["binary"] is True


def test_every_digit_image_is_trained_on_held_back_or_tested_on():
    made = recipe(binary=False, seed=3)
    validation = made.validation["image"]
    parts = torch.cat([made.data["image"], validation, made.held_out["image"]])
    assert sorted(parts.flatten(1).tolist()) == sorted(digits().image.flatten(1).tolist())
    assert len(made.held_out["image"]) == 450
    assert len(validation) == pytest.approx(1347 / 6, abs=5)


def test_binary_images_are_the_grey_ones_drawn_once():
    """The same images in the same order as without, each pixel as often black as it is grey."""
    grey, binary = recipe(binary=False, seed=3), recipe(seed=3)
    for mean, drawn in (
        (grey.data["image"], binary.data["image"]),
        (grey.validation["image"], binary.validation["image"]),
        (grey.held_out["image"], binary.held_out["image"]),
    ):
        assert set(drawn.unique().tolist()) == {0.0, 1.0}
        assert torch.equal(drawn[mean == 0], torch.zeros(int((mean == 0).sum())))
        assert torch.equal(drawn[mean == 1], torch.ones(int((mean == 1).sum())))
        deviation = (drawn - mean).double().sum() / (mean * (1 - mean)).double().sum().sqrt()
        assert abs(deviation) < SIGMAS
    again, other = recipe(seed=3), recipe(seed=4)
    assert torch.equal(binary.held_out["image"], again.held_out["image"])
    assert not torch.equal(binary.held_out["image"], other.held_out["image"])


def test_the_energy_of_a_binary_image_is_in_the_mean_that_of_the_grey_one(test):
    """The reason for drawing pixels rather than cutting them at a threshold."""
    model, few = recipe_of(test, 3).model, test.subset(torch.arange(5))
    code = {"code": torch.randn(5, 3)}
    energy = EnergyView(model).bind(few.image).energy(code)
    generator = torch.Generator().manual_seed(3)
    drawn = torch.stack(
        [EnergyView(model).bind(binarised(few, generator).image).energy(code) for _ in range(300)]
    ).detach()
    assert (drawn.mean() - energy).abs() < SIGMAS * drawn.std() / 300**0.5
    assert drawn.std() > 0.1


def test_making_the_data_disturbs_no_other_random_number():
    before = get_random_state()["torch"]
    made = recipe(seed=3)
    weights = sum(parameter.numel() for program in (made.model, made.guide) for parameter in program.parameters())
    after = get_random_state()["torch"]
    assert weights > 0
    torch.set_rng_state(before)
    VAE((8, 8), latents=made.model.latents, hidden=100)
    GaussianEncoder((8, 8), latents=made.model.latents, hidden=100)
    assert torch.equal(get_random_state()["torch"], after)  # the weights alone


def test_rate_and_distortion_are_the_parts_of_the_elbo(test):
    made = recipe_of(test, 3)
    image = test.image[:7]
    bound = made.view(7).variational_free_energy(made.guide, draws=2000)
    draws = torch.stack([torch.stack(rate_and_distortion(made.model, made.guide, image)) for _ in range(500)])
    rate, distortion = draws.mean(0)
    error = (draws[:, 1].var(0) / 500 + bound.per_datum_error.square()).sqrt()
    assert ((rate + distortion - bound.per_datum).abs() < SIGMAS * error).all()
    q = made.guide.distribution(image).base_dist
    moments = (q.loc.square() + q.scale.square() - 1) / 2 - q.scale.log()
    torch.testing.assert_close(rate, moments.sum(-1).detach())


def test_rate_and_distortion_do_not_depend_on_how_images_are_parted(test):
    made = recipe_of(test, 3)
    many = test.image.repeat(5, 1, 1)[:2100]
    rate, distortion = rate_and_distortion(made.model, made.guide, many)
    assert rate.shape == distortion.shape == (2100,)
    torch.testing.assert_close(rate[:450], rate[1350:1800])


def test_the_learning_rate_falls_in_the_second_half():
    assert [decay(progress) for progress in (0.0, 0.5, 0.75, 1.0)] == [1.0, 1.0, 0.5, 0.0]


def test_a_setting_of_zero_is_what_suits_the_data_and_another_is_taken():
    assert recipe().model.latents == 5
    made = recipe(latents=3, hidden=11, epochs=7, learning_rate=0.02)
    assert (made.model.latents, made.guide.latents, made.epochs) == (3, 3, 7)
    assert made.model.decoder[0].out_features == 11
    assert made.optimizer(list(made.model.parameters())).param_groups[0]["lr"] == 0.02


def test_unknown_data_are_refused():
    with pytest.raises(ValueError, match="'data' must be digits or mnist, got 'letters'"):
        recipe(data="letters")


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_pictures_are_the_same_each_time_and_leave_random_numbers_alone(test, latents):
    made = recipe_of(test, latents)
    pictures = code_pictures(test, latents)
    assert ("code_plane" in pictures) == (latents == 2)
    for name, draw in pictures.items():
        before = get_random_state()["torch"]
        first, second = image_in(draw(made)), image_in(draw(made))
        assert torch.equal(before, get_random_state()["torch"]), name
        assert np.array_equal(first, second), name


def test_decoded_images_stand_under_their_originals(test):
    made = recipe_of(test, 3)
    shown = image_in(code_pictures(test, 3)["reconstructions"](made), axes=1)
    chosen = test.image[first_of_each(test.digit, 3)][1::3]  # the second image of each digit
    decoded = render(made.model, made.guide.distribution(chosen[6:7]).mean)[0].detach()
    assert shown.shape == (17, 89)  # one white pixel between two images
    np.testing.assert_array_equal(shown[:8, 54:62], chosen[6].numpy())
    np.testing.assert_allclose(shown[9:, 54:62], decoded.numpy(), atol=1e-6)


def test_the_plane_rises_to_the_right_and_upwards(test):
    """Oracle: quantiles by the inverse of the normal distribution function, at 1/10, 3/10, ..., 9/10."""
    made = recipe_of(test, 2)
    figure = code_plane(made, steps=5)
    shown, (low, middle, high) = image_in(figure), (-1.28155, 0.0, 1.28155)
    places = {(36, 0): (low, low), (0, 0): (low, high), (36, 36): (high, low), (18, 18): (middle, middle)}
    for (row, column), code in places.items():
        expected = render(made.model, torch.tensor(code)).detach().numpy()
        np.testing.assert_allclose(shown[row : row + 8, column : column + 8], expected, atol=1e-5)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["-1.3", "-0.5", "0.0", "0.5", "1.3"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1.3", "0.5", "0.0", "-0.5", "-1.3"]


def test_a_plane_needs_two_dimensions_and_pictures_this_pair(test):
    with pytest.raises(ValueError, match="code of 2 dimensions for a map of its plane, got 3"):
        code_plane(recipe_of(test, 3))
    other = Recipe(model=FactorAnalysis(4, 2), guide=recipe_of(test, 3).guide, data={}, held_out={}, epochs=1)
    with pytest.raises(TypeError, match="got FactorAnalysis and GaussianEncoder"):
        code_pictures(test, 3)["samples"](other)


def test_pixels_are_redrawn_of_the_grey_images_while_what_judges_is_drawn_once():
    grey, drawn, redrawn_each_step = recipe(binary=False, seed=3), recipe(seed=3), recipe(redraw=True, seed=3)
    assert torch.equal(redrawn_each_step.data["image"], grey.data["image"])
    assert torch.equal(redrawn_each_step.validation["image"], drawn.validation["image"])
    assert torch.equal(redrawn_each_step.held_out["image"], drawn.held_out["image"])
    assert drawn.augment is None
    image = grey.data["image"]
    copies = torch.stack([redrawn_each_step.augment(image=image)["image"] for _ in range(50)])
    assert set(copies.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(copies[:, image == 0].sum(), torch.tensor(0.0))
    assert (copies[:, image == 1] == 1).all()
    # By pixel: the mean over pixels of (mean of copies - grey)^2 50 / (grey (1 - grey)) is 1, with a variance by pixel
    # of 2 + (1 / (grey (1 - grey)) - 6) / 50.
    inside = (image > 0.05) & (image < 0.95)
    grey_value = image[inside].double()
    variance = grey_value * (1 - grey_value)
    squares = 50 * (copies.mean(0)[inside].double() - grey_value).square() / variance
    error = (2 + (1 / variance - 6) / 50).sum().sqrt() / len(squares)
    assert (squares.mean() - 1).abs() < SIGMAS * error
    assert not torch.equal(copies[0], copies[1])


def test_to_redraw_what_is_not_drawn_is_refused():
    with pytest.raises(ValueError, match="'redraw' is of pixels that are drawn.*binary=true"):
        recipe(binary=False, redraw=True)

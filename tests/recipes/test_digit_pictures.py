"""The pictures show what the model and the guide say: checked against their own distributions, and by quadrature."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure

from pyrometer.data import ImageDataset, digits
from pyrometer.guides import DigitAndStyle
from pyrometer.inference.svi.random_state import get_random_state
from pyrometer.models import FactorAnalysis, SemiSupervisedVAE
from pyrometer.recipes import Recipe
from pyrometer.recipes.digit_pictures import digit_pictures, explain, first_of_each, plane
from pyrometer.recipes.hypothesis_picture import energies_by_digit, hardest, hypotheses

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
AXES = {"digit_by_style": 1, "style_transfer": 2, "reconstructions": 3, "styles": 1, "energies_by_digit": 12}


def pair(shape=(8, 8), style=3):
    model, guide = SemiSupervisedVAE(shape, style=style, hidden=6), DigitAndStyle(shape, style=style, hidden=7)
    return model.eval(), guide.eval()


def recipe_of(model, guide, test):
    return Recipe(model=model, guide=guide, data={}, held_out={"image": test.image}, epochs=1)


@pytest.fixture
def test():
    return digits().subset(torch.arange(40))


def images_in(figure):
    """All numbers that the figure's axes show as images."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize(("shape", "style"), [((8, 8), 3), ((9, 14), 1), ((28, 28), 2)])
def test_every_picture_is_a_figure_of_any_image_size(shape, style):
    test = ImageDataset(torch.rand(24, *shape), torch.arange(24) % 10)
    recipe = recipe_of(*pair(shape, style), test)
    drawn = {name: draw(recipe) for name, draw in digit_pictures(test).items()}
    assert all(isinstance(figure, Figure) for figure in drawn.values())
    assert {name: len(figure.axes) for name, figure in drawn.items()} == AXES


def test_pictures_are_the_same_each_time_and_leave_random_numbers_alone(test):
    recipe = recipe_of(*pair(), test)
    for name, draw in digit_pictures(test).items():
        before = get_random_state()
        first, second = images_in(draw(recipe)), images_in(draw(recipe))
        after = get_random_state()
        assert torch.equal(before["torch"], after["torch"]), name
        assert torch.equal(before["numpy"][1], after["numpy"][1]), name
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), name


def test_the_grid_has_styles_down_and_digits_across(test):
    model, guide = pair()
    (shown,) = images_in(digit_pictures(test)["digit_by_style"](recipe_of(model, guide, test)))
    mean_style_as_six = model.decode(torch.tensor(6), torch.zeros(3)).sigmoid().detach().numpy()
    assert shown.shape == (8 * 9 - 1, 10 * 9 - 1)  # one white pixel between two images
    np.testing.assert_allclose(shown[:8, 6 * 9 : 6 * 9 + 8], mean_style_as_six, atol=1e-6)
    assert not np.allclose(shown[9:17, 54:62], mean_style_as_six)


def test_style_transfer_keeps_the_style_and_changes_the_digit(test):
    model, guide = pair()
    left, right = images_in(digit_pictures(test)["style_transfer"](recipe_of(model, guide, test)))
    image = test.image[first_of_each(test.digit, 1)][2]
    found = explain(guide, image[None])
    as_seven = model.decode(torch.tensor([7]), found.style).sigmoid().detach()[0].numpy()
    np.testing.assert_array_equal(left[18:26, :8], image.numpy())
    np.testing.assert_allclose(right[18:26, 63:71], as_seven, atol=1e-6)


def test_reconstructions_stand_under_their_images_and_errors_are_bold(test):
    model, guide = pair()
    figure = digit_pictures(test)["reconstructions"](recipe_of(model, guide, test))
    place = first_of_each(test.digit, 3)[4::3]  # the second image of each digit
    found = explain(guide, test.image[place])
    rendered = model.decode(found.digit, found.style).sigmoid().detach()
    shown = images_in(figure)[1]
    np.testing.assert_array_equal(shown[:8, 9:17], test.image[place[0]].numpy())
    np.testing.assert_allclose(shown[9:, 9:17], rendered[0].numpy(), atol=1e-6)
    labels = figure.axes[1].get_xticklabels()[1:]
    assert [label.get_text() for label in labels] == [str(k) for k in found.digit.tolist()]
    wrong = (found.digit != test.digit[place]).tolist()
    assert [label.get_weight() == "bold" for label in labels] == wrong
    assert any(wrong)


def test_the_plane_of_styles_keeps_their_distances_where_it_can():
    """Oracle: a rotation of points that lie in a plane; D = 1 lies on a line of it."""
    points = torch.randn(30, 2).double() * torch.tensor([3.0, 0.5])
    rotation = torch.linalg.qr(torch.randn(5, 5).double()).Q[:2]
    found, labels = plane(points @ rotation)
    torch.testing.assert_close(torch.cdist(found, found), torch.cdist(points, points), atol=1e-6, rtol=1e-6)
    assert "% of the variance" in labels[0]
    assert plane(points)[0] is points
    assert plane(points[:, :1])[0][:, 1].abs().max() < 1e-6


def test_free_energies_of_digits_agree_with_quadrature(test):
    """Oracle: -log of the integral over a style of one dimension, on a grid."""
    model, guide = pair(style=1)
    image = test.image[:3]
    found = hypotheses(model, guide, image)
    style = torch.linspace(-8, 8, 2001)[:, None]
    logits = model.decode(torch.arange(10)[:, None], style).detach().double()  # (K, S, H, W)
    pixels = image[:, None, None].double()
    likelihood = (pixels * logits - torch.nn.functional.softplus(logits)).sum((-1, -2))  # (N, K, S)
    prior = dist.Normal(0.0, 1.0).log_prob(style[:, 0]).double() - np.log(10)
    exact = -((likelihood + prior).logsumexp(-1) + np.log(16 / 2000))
    assert (found.error > 0).all()
    assert ((found.free_energy - exact).abs() < SIGMAS * found.error + 1e-4).all()


def test_bars_are_the_free_energies_and_the_probabilities(test):
    model, guide = pair()
    chosen = hardest(test, guide, 4)
    found = hypotheses(model, guide, test.image[chosen])
    figure = energies_by_digit(test, model, guide)
    for row in range(4):
        picture, energies, probabilities = figure.axes[3 * row : 3 * row + 3]
        assert picture.get_ylabel() == f"true digit: {test.digit[chosen[row]]}"
        heights = [patch.get_height() for patch in energies.patches]
        assert heights == pytest.approx(found.free_energy[row].tolist(), rel=1e-9)
        shown = [patch.get_height() for patch in probabilities.patches]
        assert shown == pytest.approx([*found.guide[row].tolist(), *found.model[row].tolist()], rel=1e-6)
        assert sum(shown) == pytest.approx(2.0, rel=1e-5)


def test_free_energies_that_the_guide_cannot_give_are_hatched(test):
    model, guide = pair()
    with torch.no_grad():
        guide.moments.weight.zero_()
        guide.moments.bias[:, :3] = 0.0
        guide.moments.bias[:, 3:] = 0.4  # wider than the prior, which the posterior of an untrained decoder resembles
        guide.moments.bias[4, 3:] = -3.0  # of digit 4 far narrower
    bars = energies_by_digit(test, model, guide).axes[1].patches
    assert [bool(bar.get_hatch()) for bar in bars] == [digit == 4 for digit in range(10)]


def test_the_hardest_images_come_first(test):
    """Oracle: log probabilities written by hand."""

    class Written:
        def digit_distribution(self, _):
            return dist.Categorical(logits=torch.tensor([[3.0, 0.0], [0.0, 0.5], [0.0, 4.0], [2.0, 1.5]]))

    labelled = ImageDataset(test.image[:4], torch.tensor([0, 1, 0, 1]))  # margins 3, 0.5, -4, -0.5
    assert hardest(labelled, Written(), 3).tolist() == [2, 3, 1]


def test_other_pairs_are_refused(test):
    recipe = recipe_of(FactorAnalysis(4, 2), DigitAndStyle((8, 8)), test)
    with pytest.raises(TypeError, match="got FactorAnalysis and DigitAndStyle"):
        digit_pictures(test)["styles"](recipe)

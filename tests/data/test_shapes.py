"""The shapes against what they are to be: areas, places and angles by the moments of their ink."""

import math

import pytest
import torch

from pyrometer.data import shapes

SQUARE, TRIANGLE, ELLIPSE = range(3)


@pytest.fixture(scope="module")
def data():
    return shapes()


def moments(image):
    """The ink of each image, its centre across and down, and its second moments around it, in pixels."""
    points = torch.arange(16) + 0.5
    ink = image.sum((1, 2))
    across = (image.sum(1) * points).sum(-1) / ink
    down = (image.sum(2) * points).sum(-1) / ink
    dx, dy = points - across.unsqueeze(-1), points - down.unsqueeze(-1)
    xx = (image.sum(1) * dx.square()).sum(-1) / ink
    yy = (image.sum(2) * dy.square()).sum(-1) / ink
    xy = (image * dy.unsqueeze(2) * dx.unsqueeze(1)).sum((1, 2)) / ink
    return ink, across, down, xx, yy, xy


def test_every_combination_of_factors_is_there_once(data):
    assert data.image.shape == (1296, 16, 16)
    assert {name: len(value.unique()) for name, value in data.factors.items()} == {
        **{"kind": 3, "size": 3, "angle": 4, "across": 6, "down": 6}
    }
    rows = torch.stack(list(data.factors.values()), -1)
    assert len(rows.unique(dim=0)) == 1296
    assert len(data.image.flatten(1).unique(dim=0)) == 1296


def test_the_ink_is_that_of_a_disc_and_none_is_cut_off(data):
    """The covered part of 16 points a pixel: off by a part of the outline, on average by nothing."""
    ink, across, down, *_ = moments(data.image)
    for size, radius in enumerate((2.0, 2.7, 3.4)):
        for kind in range(3):
            chosen = ink[(data.factors["size"] == size) & (data.factors["kind"] == kind)]
            assert chosen.mean().item() == pytest.approx(math.pi * radius**2, rel=0.03)
    places = torch.linspace(5.3, 10.7, 6)
    assert (across - places[data.factors["across"]]).abs().max() < 0.15
    assert (down - places[data.factors["down"]]).abs().max() < 0.15


def test_the_longer_axis_of_an_ellipse_is_turned_by_the_angle(data):
    *_, xx, yy, xy = moments(data.image)
    found = torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy))
    ellipse = (data.factors["kind"] == ELLIPSE) & (data.factors["size"] == 2)
    for angle in range(4):
        chosen = found[ellipse & (data.factors["angle"] == angle)]
        assert chosen.mean().item() == pytest.approx(22.5 * angle, abs=2.0)
        assert chosen.std() < 3.0


def test_only_the_ellipse_is_longer_than_wide_and_the_triangle_reaches_furthest(data):
    """Oracle: the second moments of bodies of area pi: square pi/12, triangle pi/(6 sqrt 3), ellipse 1/2 and 1/8."""
    ink, _, _, xx, yy, xy = moments(data.image)
    spread = ((xx + yy) / 2 - 1 / 12) / (ink / math.pi)  # less that of a pixel
    long = ((xx - yy).square() + 4 * xy.square()).sqrt() / (ink / math.pi)
    large = data.factors["size"] == 2
    expected = {SQUARE: (math.pi / 12, 0.0), TRIANGLE: (math.pi / (6 * math.sqrt(3)), 0.0), ELLIPSE: (0.3125, 0.375)}
    for kind, (of_both, of_difference) in expected.items():
        chosen = large & (data.factors["kind"] == kind)
        assert spread[chosen].mean().item() == pytest.approx(of_both, abs=0.01)
        assert long[chosen].mean().item() == pytest.approx(of_difference, abs=0.02)


def test_there_is_nothing_random_in_them(data):
    before = torch.get_rng_state()
    assert torch.equal(shapes().image, data.image)
    assert torch.equal(before, torch.get_rng_state())

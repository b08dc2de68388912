"""Distortions against rotations, shifts and zooms done by indexing, and against areas."""

import math

import pytest
import torch

from pyrometer.data import Distortion


@pytest.fixture
def image():
    return torch.rand(6, 9, 9)


def only(monkeypatch, **extremes):
    """A distortion whose draws are all the largest there are: every image gets the limits themselves."""
    monkeypatch.setattr(torch, "rand", lambda *size, **kwargs: torch.ones(*size, **kwargs))
    return Distortion(**extremes)


def test_nothing_is_changed_where_all_limits_are_0(image):
    torch.testing.assert_close(Distortion()(image), image)


def test_a_quarter_turn_is_that_of_the_pixels(image, monkeypatch):
    found = only(monkeypatch, rotation=90)(image)
    torch.testing.assert_close(found, image.rot90(1, (1, 2)), atol=1e-5, rtol=0)


def test_a_shift_by_whole_pixels_moves_them_and_brings_in_zeros(image, monkeypatch):
    found = only(monkeypatch, shift=2 / 9)(image)
    expected = torch.zeros_like(image)
    expected[:, :7, :7] = image[:, 2:, 2:]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_scale_of_log_3_takes_every_third_pixel_of_the_middle(image, monkeypatch):
    found = only(monkeypatch, scale=math.log(3))(image)
    torch.testing.assert_close(found[:, 3:6, 3:6], image[:, 1::3, 1::3], atol=1e-5, rtol=0)


def test_a_stretch_is_of_the_height_alone(image, monkeypatch):
    found = only(monkeypatch, stretch=math.log(3))(image)
    torch.testing.assert_close(found[:, 3:6], image[:, 1::3], atol=1e-5, rtol=0)


def test_a_shear_moves_each_row_by_its_height(image, monkeypatch):
    found = only(monkeypatch, shear=1.0)(image)
    torch.testing.assert_close(found[:, 4], image[:, 4], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[:, 5, :8], image[:, 5, 1:], atol=1e-5, rtol=0)


def test_each_image_gets_a_map_of_its_own_and_each_call_another(image):
    same = image[:1].expand(6, -1, -1)
    distort = Distortion(rotation=20, shift=0.1)
    first, second = distort(same), distort(same)
    assert (first[0] - first[1]).abs().max() > 0.01
    assert (first - second).abs().amax((1, 2)).min() > 0.01


def test_angles_are_uniform_within_their_limit():
    """Where a bar that points to the right points to after the rotation: 4.3 standard errors of mean and variance."""
    side = torch.arange(41) - 20.0
    bar = ((side[:, None].abs() < 2) & (side > 0)).float().expand(3000, 41, 41)
    found = Distortion(rotation=40)(bar)
    weight = found.sum((1, 2))
    angle = torch.atan2((found * side[:, None]).sum((1, 2)) / weight, (found * side).sum((1, 2)) / weight).rad2deg()
    variance = 40**2 / 3
    assert abs(angle.mean()) < 4.3 * math.sqrt(variance / 3000) + 0.05
    assert angle.var().item() == pytest.approx(variance, abs=4.3 * 40**2 * math.sqrt((1 / 5 - 1 / 9) / 3000) + 8)
    assert angle.abs().max() < 40.5


@pytest.mark.parametrize("limit", [-1.0, math.nan, math.inf])
def test_a_limit_that_is_none_is_refused(limit):
    with pytest.raises(ValueError, match=f"shear must be a limit of 0 or more, got {limit}"):
        Distortion(shear=limit)


def test_images_of_other_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"image must be \(N, H, W\), got \(3, 1, 8, 8\)"):
        Distortion()(torch.rand(3, 1, 8, 8))

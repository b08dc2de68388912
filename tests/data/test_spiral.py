"""The spiral against its own equation."""

import math

import pytest
import torch

from pyrometer.data import spiral


def test_without_noise_every_point_lies_on_the_arm():
    points = spiral(500, turns=3.0, noise=0.0, seed=2)
    radius = points.norm(dim=-1)
    angle = torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close((radius - angle / (2 * math.pi) + 0.5) % 1, torch.full((500,), 0.5), atol=1e-5, rtol=0)


def test_points_are_even_along_the_arm():
    """The squared radius is uniform: its mean is half the greatest, with the standard error of N uniforms."""
    squares = spiral(4000, turns=3.0, noise=0.0, seed=2).square().sum(-1)
    assert abs(squares.mean().item() - 4.5) < 4.3 * 9 / math.sqrt(12 * 4000)


def test_a_seed_is_one_spiral_and_leaves_other_random_numbers_alone():
    before = torch.get_rng_state()
    assert torch.equal(spiral(20, seed=3), spiral(20, seed=3))
    assert not torch.equal(spiral(20, seed=3), spiral(20, seed=4))
    assert torch.equal(before, torch.get_rng_state())


def test_a_spiral_without_points_or_turns_is_refused():
    with pytest.raises(ValueError, match="must be positive and noise not negative, got 0, 2.0 and 0.05"):
        spiral(0)

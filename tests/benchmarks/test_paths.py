"""The benchmark of annealing's two paths: its grid is exact, and an image that is wrong in silence is counted."""

import math

import pytest
import torch
from torch import nn

from pyrometer.benchmarks.code_grid import GridFreeEnergy, grid_free_energy
from pyrometer.benchmarks.paths import judge, report
from pyrometer.inference.energy.free_energy import FreeEnergy


class StepDecoder(nn.Module):
    """Pixels that depend on the quadrant of the code alone."""

    latents = 2

    def __init__(self):
        super().__init__()
        self.logit = nn.Parameter(torch.tensor([1.5, -0.7]))

    def decode(self, code):
        """Logits of two pixels in a row."""
        return (self.logit * (code + 1e-3).sign()).unsqueeze(-2)


def test_the_grid_is_exact_where_the_likelihood_is_a_step():
    """Oracle: the mean of the likelihood over four quadrants of the prior, by hand; two pixels in one row."""
    image = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])
    sigmoid = torch.tensor([1.5, -0.7]).double().sigmoid()
    # A pixel's logit is +l or -l, one half each, and independently of the other's: so it is 0 or 1, one half each.
    half = (0.5 * sigmoid + 0.5 * (1 - sigmoid)).log().sum()
    found = grid_free_energy(StepDecoder(), image, extent=8.0, spacing=0.05)
    torch.testing.assert_close(found.value, -half.expand(2), rtol=0, atol=0.05)
    assert (found.beyond < 1e-12).all()


class LinearDecoder(nn.Module):
    """One pixel, whose logit is linear in the code."""

    latents = 2

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0], [-1.0]]))

    def decode(self, code):
        """The logit of the pixel."""
        return (code @ self.weight + 0.3).unsqueeze(-1)


def test_the_grid_agrees_with_an_integral_over_the_one_direction_that_matters():
    """Oracle: the logit is N(0.3, 5), and its sigmoid's mean is a sum over 20,001 points of that."""
    image = torch.tensor([[[1.0]], [[0.0]]])
    logit = torch.linspace(-40, 40, 20_001, dtype=torch.float64)
    weight = (-0.5 * (logit - 0.3).square() / 5.0).softmax(0)
    expected = -torch.stack([(weight * logit.sigmoid()).sum(), (weight * (-logit).sigmoid()).sum()]).log()
    found = grid_free_energy(LinearDecoder(), image, extent=9.0, spacing=0.1)
    torch.testing.assert_close(found.value, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.coarse, expected, rtol=0, atol=1e-6)


def test_a_grid_that_is_too_small_says_so():
    found = grid_free_energy(LinearDecoder(), torch.ones(1, 1, 1), extent=1.0, spacing=0.1)
    assert found.beyond.item() > 0.01


def test_a_spacing_that_does_not_divide_the_extent_is_refused():
    with pytest.raises(ValueError, match="even multiple of the spacing"):
        grid_free_energy(LinearDecoder(), torch.ones(1, 1, 1), extent=1.0, spacing=0.3)


def annealed(prior, guide, value, error, disagree):
    """Results of four images; the paths' errors are 0.1."""
    small = torch.full((4,), 0.1)
    evidence = {"disagree": torch.tensor(disagree), "prior_temperatures": 70, "guide_temperatures": 50}
    evidence |= {"prior_free_energy": torch.tensor(prior), "prior_error": small}
    evidence |= {"guide_free_energy": torch.tensor(guide), "guide_error": small}
    kind = {"bound": "estimate", "method": "annealing", "beta": 1.0, "base": "lebesgue", "evidence": evidence}
    values, errors = torch.tensor(value), torch.tensor(error)
    return FreeEnergy(values.sum(), errors.norm(), values, errors, torch.tensor(0.0), **kind)


# Right; wrong and flagged; wrong and withheld; wrong and silent.
FOUND = annealed(
    prior=[5.1, 5.0, 5.0, 7.0],
    guide=[5.0, 6.0, 6.0, 7.0],
    value=[5.0, 5.0, 5.0, 7.0],
    error=[0.1, 1.0, math.nan, 0.1],
    disagree=[False, True, False, False],
)
EXACT = torch.full((4,), 5.0, dtype=torch.float64)


def test_a_wrong_path_is_silent_only_where_neither_flag_nor_error_says_so():
    judged = judge(FOUND, EXACT)
    assert judged.wrong["prior"].tolist() == [False, False, False, True]
    assert judged.wrong["guide"].tolist() == [False, True, True, True]
    assert judged.flagged.tolist() == [False, True, True, False]
    assert judged.covered.tolist() == [True, True, False, False]
    assert judged.silent.tolist() == [False, False, False, True]


def test_an_error_that_covers_the_truth_is_no_silence():
    found = annealed([5.0] * 4, [6.0] * 4, [5.4] * 4, [0.2] * 4, [False] * 4)
    assert not judge(found, EXACT).silent.any()
    found = annealed([5.0] * 4, [6.0] * 4, [5.4] * 4, [0.1] * 4, [False] * 4)
    assert judge(found, EXACT).silent.all()


def test_the_report_counts_them():
    exact = GridFreeEnergy(EXACT, EXACT + 1e-5, torch.full((4,), 1e-9))
    text = report(FOUND, exact, judge(FOUND, EXACT))
    assert "| prior path | 70 | 0.525 | 2.00 | 1 | 0 |" in text
    assert "| reported |  | 0.500 | 2.00 | 1 | 1 |" in text
    assert "wrong on 3 of 4 images: 2 of these are flagged" in text
    assert "0 more are covered by the reported error, and 1 are neither" in text
    assert "75.0 % of the images" in text
    assert "1.0e-05 nats" in text

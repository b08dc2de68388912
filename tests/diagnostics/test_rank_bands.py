"""Bands for ECDFs, against simulated uniform numbers, a sum over all cases of two of them, and ArviZ."""

import math

import numpy as np
import pytest

from pyrometer.inference.diagnostics.rank_bands import POINTS, departure, ecdf, p_value, rank_band

SIGMAS = 4.3  # two-sided failure rate 2e-5 of a true claim
SETS = 10_000


def uniform(count, sets=SETS, seed=0):
    return np.random.default_rng(seed).random((sets, count))


def leaves(pit, band):
    inside = (band.lower - 1e-12 <= ecdf(pit)) & (ecdf(pit) <= band.upper + 1e-12)
    return ~inside.all(-1)


@pytest.mark.parametrize(("count", "level"), [(60, 0.8), (300, 0.95), (1000, 0.5)])
def test_the_band_holds_the_ecdf_of_uniform_numbers_as_often_as_it_says(count, level):
    outside = leaves(uniform(count), rank_band(count, level)).mean()
    error = math.sqrt(level * (1 - level) / SETS)
    assert outside <= 1 - level + SIGMAS * error
    assert outside >= (1 - level) * 0.9 - SIGMAS * error  # whole counts make it a little wider than asked


@pytest.mark.parametrize("tail", [0.003, 0.02, 0.1])
def test_the_p_value_of_a_departure_is_how_often_uniform_numbers_depart_as_much(tail):
    expected = p_value(200, tail)
    error = math.sqrt(expected * (1 - expected) / SETS)
    assert abs((departure(uniform(200)) <= tail).mean() - expected) < SIGMAS * error


@pytest.mark.parametrize("tail", [1e-4, 0.02, 0.3, 0.9])
def test_the_p_value_of_two_numbers_is_a_sum_over_the_cells_of_the_square(tail):
    middles = (np.arange(100) + 0.5) / 100
    cells = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    assert p_value(2, tail) == pytest.approx((departure(cells) <= tail).mean(), abs=1e-12)


def test_the_departure_is_the_smallest_binomial_tail_at_any_point():
    pit = np.array([0.005, 0.013, 0.02, 0.3, 0.31, 0.9, 0.971])
    tails = []
    for z in POINTS:
        chances = [math.comb(7, k) * z**k * (1 - z) ** (7 - k) for k in range(8)]
        k = int((pit <= z).sum())
        tails += [2 * sum(chances[: k + 1]), 2 * sum(chances[k:])]
    assert departure(pit) == pytest.approx(min(1.0, *tails), rel=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.95, 1 - 1e-6])
def test_an_ecdf_leaves_the_band_exactly_where_its_p_value_is_at_most_the_rest_of_the_level(level):
    pit = np.concatenate([uniform(80, 300, seed) ** power for seed, power in enumerate((1.0, 1.3, 1.6, 2.0))])
    small = np.array([p_value(80, tail) <= 1 - level for tail in departure(pit).tolist()])
    np.testing.assert_array_equal(leaves(pit, rank_band(80, level)), small)
    assert 0 < small.sum() < len(small)


def test_the_band_is_that_of_arviz_to_one_rank():
    ecdf_utils = pytest.importorskip("arviz.stats.ecdf_utils", reason="ArviZ 1.x simulates its bands")
    lower, upper = ecdf_utils.ecdf_confidence_band(500, POINTS, POINTS, prob=0.95)
    band = rank_band(500, 0.95)
    assert np.abs(band.lower - lower).max() < 1.5 / 500
    assert np.abs(band.upper - upper).max() < 1.5 / 500


def test_numbers_beyond_all_tables_have_the_p_value_zero():
    pit = np.full(5000, 0.999)
    assert (departure(pit), p_value(5000, 0.0)) == (0.0, pytest.approx(0.0, abs=1e-10))
    assert leaves(pit, rank_band(5000, 1 - 1e-9))


def test_rows_are_judged_one_by_one():
    pit = uniform(90, 6).reshape(2, 3, 90)
    assert departure(pit).shape == (2, 3)
    assert departure(pit)[1, 2] == departure(pit[1, 2])


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(ValueError, match=f"level must be between 0 and 1, got {level}"):
        rank_band(100, level)

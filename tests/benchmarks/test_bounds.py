"""The tables of bounds and codes: what goes in comes out, and a table that shows something wrong is not passed."""

import pytest

from pyrometer.benchmarks import bounds, codes

VALUES = {"zero_temperature": 20.0, "free_energy": 21.5, "negative_elbo": 22.0, "gap": 0.5}
ERRORS = {"free_energy": 0.03, "negative_elbo": 0.04, "gap": 0.05}


def measured(gap=0.5, **more):
    return bounds.Measured(VALUES | {"gap": gap} | more, ERRORS | dict.fromkeys(more, 0.05), seconds=7.0)


def test_numbers_have_their_spread_and_their_error():
    """Oracle: by hand; the standard error of a mean of two is sqrt(0.05^2 + 0.05^2) / 2 = 0.035."""
    text, sound = bounds.report({"flow": [measured(0.5), measured(0.7)]})
    assert sound
    assert "| ELBO, flow guide | 2 | 20.00 ± 0.00 | 21.50 ± 0.00 (0.021) |" in text
    assert "| 0.60 ± 0.14 (0.035) | - | - | 7 ± 0 |" in text


def test_a_gap_that_is_split_has_both_parts():
    split = {"approximation_gap": 0.2, "amortization_gap": 0.3}
    text, _ = bounds.report({"elbo": [measured(**split)]})
    assert "| 0.50 (0.050) | 0.20 (0.050) | 0.30 (0.050) | 7 |" in text


def test_rows_are_compared_seed_by_seed():
    """Oracle: by hand; F_1 differs by 0.1 and 0.3 from the first row, which itself has 21.5 and 31.5."""
    first = [measured(free_energy=21.5), measured(free_energy=31.5)]
    text, _ = bounds.report({"elbo": first, "iwae": [measured(free_energy=21.6), measured(free_energy=31.8)]})
    assert "doubly reparameterised: F_1 0.20 ± 0.14, -ELBO 0.00 ± 0.00" in text


def test_a_bound_below_what_it_bounds_is_not_passed():
    assert bounds.report({"elbo": [measured(gap=-0.2)]})[1]  # as noise of 0.05 may have it
    assert not bounds.report({"elbo": [measured(gap=-0.5)]})[1]


def test_every_number_of_a_short_training_is_measured():
    """Oracle: the inference gap is the difference of the numbers beside it."""
    made, seconds = bounds.trained("flow", seed=0, epochs=1)
    found = bounds.measured(made, images=2, seconds=seconds, draws=100)
    assert found.values["gap"] == pytest.approx(found.values["negative_elbo"] - found.values["free_energy"], abs=1e-4)
    assert found.errors["free_energy"] > 0
    assert found.seconds > 0


def test_samples_that_are_no_nearer_than_the_auto_encoder_s_are_not_enough():
    def one(ratio):
        return codes.Judged(ratio, p=0.01 if ratio > 2 else 0.4, spread=0.5, seconds=3.0)

    found = {("digits", 2, "auto-encoder"): [one(9.0), one(7.0)], ("digits", 2, "VAE"): [one(1.2), one(1.4)]}
    text, good = codes.report(found)
    assert good
    assert "| digits | 2 | auto-encoder | 8.00 ± 1.41 | 2 of 2 | 0.50 ± 0.00 | 3 ± 0 |" in text
    assert not codes.report(found | {("digits", 2, "VAE"): [one(1.2), one(7.5)]})[1]


def test_a_trained_pair_s_samples_and_codes_are_judged():
    settings = {"data": "digits", "latents": 2, "epochs": 3, "seed": 0, "hidden": 20}
    made, seconds = codes.trained("auto-encoder", settings)
    found = codes.judged(made, seconds, permutations=50)
    assert found.ratio > 1
    assert found.p == pytest.approx(1 / 51)  # further off than any permutation
    assert 0 < found.spread < 2
    assert codes.samples(made.model, 5).unique().tolist() == [0.0, 1.0]

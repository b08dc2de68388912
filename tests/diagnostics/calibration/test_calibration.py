"""Verdicts on guides whose posterior is known in closed form, and on ways to be wrong about them."""

import multiprocessing

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import binom

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.calibration import calibrate
from pyrometer.inference.diagnostics.calibration.ranked_quantities import LOG_JOINT, LOG_LIKELIHOOD
from pyrometer.inference.diagnostics.calibration.trials import TARP, Refit
from pyrometer.inference.diagnostics.calibration.verdict import describe_failure
from pyrometer.inference.diagnostics.rank_bands import p_value
from pyrometer.inference.svi.random_state import get_random_state

RARE = 2e-5  # the failure rate of a true claim
SCALES, NOISE = torch.tensor([2.0, 0.7, 1.4]), 0.5
WEIGHTS = torch.tensor([[1.5, 0.3, -0.7], [0.2, 2.1, 0.4], [0.6, -0.5, 1.2], [1.1, 0.1, 0.9]])
COVARIANCE = torch.linalg.inv(torch.diag(SCALES**-2) + WEIGHTS.T @ WEIGHTS / NOISE**2)
VIEW_SIZE = 10


def prior(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(torch.zeros(3), SCALES).to_event(1))


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), SCALES).to_event(1))
        pyro.sample("y", dist.Normal(z @ WEIGHTS.T, NOISE).to_event(1), obs=y)


def posterior(narrow=1.0, shift=0.0):
    """The exact posterior, its standard deviations times ``narrow``, its means off by ``shift`` of these."""

    def guide(y):
        mean = y @ WEIGHTS @ COVARIANCE / NOISE**2 + shift * COVARIANCE.diagonal().sqrt()
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.MultivariateNormal(mean, scale_tril=narrow * torch.linalg.cholesky(COVARIANCE)))

    return guide


VIEW = EnergyView(model).bind(torch.zeros(VIEW_SIZE, 4))


def chances(found):
    """The p-value of each quantity by itself."""
    tails = zip(found.table.quantity.values.tolist(), found.table.departure.values.tolist(), strict=True)
    return {name: p_value(found.table.sizes["rank"], tail) for name, tail in tails}


def test_the_right_guide_passes_as_often_as_the_level_says():
    small = EnergyView(model).bind(torch.zeros(5, 4))
    judged = [calibrate(small, posterior(), repeats=20, draws=19, seed=seed) for seed in range(12)]
    for level in (0.5, 0.95):
        passed = sum(one.at_level(level).passed for one in judged)
        assert passed >= binom.ppf(RARE, 12, level)
    assert "passes for the posterior: over 20 simulated data sets of 5 data, the ranks of all 6" in str(judged[0])


@pytest.mark.parametrize(
    ("guide", "worst", "words"),
    [
        (posterior(narrow=0.9), LOG_JOINT, "it is too narrow"),
        (posterior(narrow=1.1), "log p(x", "than half of its draws in 5"),
        (posterior(shift=0.2), "z[", "lie too high: the truth is below half of them in "),
        (posterior(shift=-0.2), "z[", "lie too low: the truth is above half of them in "),
        (prior, LOG_JOINT, "it draws what is too improbable under the model"),
    ],
)
def test_a_wrong_guide_is_rejected_and_the_verdict_says_how_it_is_wrong(guide, worst, words):
    found = calibrate(VIEW, guide, repeats=120)
    assert not found.passed
    assert found.p_value < 1e-4
    assert found.worst.startswith(worst)
    assert words in str(found)


def test_the_prior_passes_on_its_latents_and_fails_on_what_depends_on_the_data():
    found = chances(calibrate(VIEW, prior, repeats=120))
    assert min(found[name] for name in ("z[0]", "z[1]", "z[2]")) > 1e-3
    assert max(found[name] for name in (LOG_JOINT, LOG_LIKELIHOOD, TARP)) < 1e-8


def test_the_table_holds_the_ranks_and_what_they_amount_to():
    found = calibrate(VIEW, posterior(narrow=0.85), repeats=30, draws=9)
    table = found.table
    assert list(table.quantity.values) == ["z[0]", "z[1]", "z[2]", LOG_JOINT, LOG_LIKELIHOOD, TARP]
    assert table.pit.shape == (6, 30 * VIEW_SIZE)
    assert table.attrs == {"repeats": 30, "draws": 9, "posteriors": VIEW_SIZE}
    assert table.departure.sel(quantity=found.worst) == table.departure.min()
    assert 0 < found.p_value < 1
    leaving = sum(6 * chance <= 0.05 for chance in chances(found).values())
    assert f"{leaving} of 6 quantities leave" in str(found)
    assert found.p_value == 6 * min(chances(found).values())
    held = (np.abs(table.pit.values - 0.5) <= 0.4).mean(1)
    np.testing.assert_allclose(table.coverage.sel(interval=0.8), held)


def test_the_result_is_the_same_for_any_number_of_processes_and_the_callers_random_state_is_kept():
    before = get_random_state()["torch"]
    one, three, other = (
        calibrate(VIEW, posterior(), repeats=7, draws=5, processes=processes, seed=seed)
        for processes, seed in ((1, 4), (3, 4), (1, 5))
    )
    assert torch.equal(get_random_state()["torch"], before)
    np.testing.assert_array_equal(one.table.pit, three.table.pit)
    assert not np.isclose(one.table.pit, other.table.pit).any()
    assert multiprocessing.active_children() == []


def test_another_level_judges_the_same_ranks():
    found = calibrate(VIEW, posterior(shift=0.05), repeats=30, draws=19)
    at = found.p_value
    assert found.at_level(min(0.999, 1 - at / 2)).passed
    assert not found.at_level(max(1e-3, 1 - 2 * at)).passed
    assert found.at_level(0.5).table is found.table
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 1.5"):
        found.at_level(1.5)


def test_arguments_by_keyword_reach_the_guide():
    def regression(x, y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(x, 2.0))
            pyro.sample("y", dist.Normal(z, NOISE), obs=y)

    def exact(x, y):
        precision = 2.0**-2 + NOISE**-2
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal((x * 2.0**-2 + y * NOISE**-2) / precision, precision**-0.5))

    view = EnergyView(regression).bind(x=torch.linspace(-9.0, 9.0, 8), y=torch.zeros(8))
    assert calibrate(view, exact, repeats=60).p_value > 1e-3
    assert calibrate(view, lambda x, y: exact(-x, y), repeats=60).p_value < 1e-8


def test_masked_data_tell_nothing():
    def masked(y, seen):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(0.0, 2.0))
            pyro.sample("y", dist.Normal(z, NOISE).mask(seen), obs=y)

    def exact(y, seen):
        precision = 2.0**-2 + seen * NOISE**-2
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(seen * y * NOISE**-2 / precision, precision**-0.5))

    view = EnergyView(masked).bind(torch.zeros(6), torch.arange(6) > 2)
    assert calibrate(view, exact, repeats=50).p_value > 1e-3


def test_nan_in_the_place_of_masked_data_does_not_hide_the_others():
    def masked(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, NOISE).mask(~y.isnan()), obs=y.nan_to_num())

    view = EnergyView(masked).bind(torch.tensor([0.0, torch.nan, 0.0]))
    by_prior = calibrate(view, lambda _: pyro.sample("mu", dist.Normal(0.0, 2.0)), repeats=60)
    assert chances(by_prior)[TARP] < 1e-6


def mixture(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        z = pyro.sample("z", dist.Normal(3.0 * k, 0.8))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)


def mixture_posterior(sharpness):
    def guide(y):
        with pyro.plate("data", len(y)):
            spread = (0.8**2 + NOISE**2) ** 0.5
            odds = dist.Normal(3.0, spread).log_prob(y) - dist.Normal(0.0, spread).log_prob(y)
            k = pyro.sample("k", dist.Bernoulli(logits=sharpness * (odds + np.log(0.3 / 0.7))))
            precision = 0.8**-2 + NOISE**-2
            mean = (3.0 * k * 0.8**-2 + y * NOISE**-2) / precision
            pyro.sample("z", dist.Normal(mean, precision**-0.5))

    return guide


def test_a_discrete_latent_beside_a_continuous_one_is_ranked_with_its_ties():
    view = EnergyView(mixture).bind(torch.zeros(VIEW_SIZE))
    right = calibrate(view, mixture_posterior(1.0), repeats=80)
    assert right.p_value > 1e-3
    assert list(right.table.quantity.values) == ["k", "z", LOG_JOINT, LOG_LIKELIHOOD, TARP]
    assert not calibrate(view, mixture_posterior(0.3), repeats=80).passed


def test_discrete_latents_alone_have_no_distances_and_no_shifts():
    def coin(y):
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("y", dist.Normal(2.0 * k, NOISE), obs=y)

    def exact(y):
        odds = dist.Normal(2.0, NOISE).log_prob(y) - dist.Normal(0.0, NOISE).log_prob(y)
        with pyro.plate("data", len(y)):
            pyro.sample("k", dist.Bernoulli(logits=odds + np.log(0.3 / 0.7)))

    found = calibrate(EnergyView(coin).bind(torch.zeros(VIEW_SIZE)), exact, repeats=20)
    assert list(found.table.quantity.values) == ["k", LOG_JOINT, LOG_LIKELIHOOD]
    assert found.p_value > 1e-3
    assert "shift" not in str(found)


def group(y):
    mu = pyro.sample("mu", dist.Normal(0.3, 1.5))
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(mu, 0.8))


def shared(y):
    mu = pyro.sample("mu", dist.Normal(0.3, 1.5))
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(mu, 0.8))
        pyro.sample("y", dist.Normal(z, NOISE), obs=y)


def shared_posterior(narrow, off=0.0):
    def guide(y):
        variance, precision = 0.8**2 + NOISE**2, 0.8**-2 + NOISE**-2
        global_precision = 1.5**-2 + len(y) / variance
        mean = (0.3 * 1.5**-2 + y.sum() / variance) / global_precision
        mu = pyro.sample("mu", dist.Normal(mean, narrow * global_precision**-0.5))
        with pyro.plate("data", len(y)):
            own = (mu * 0.8**-2 + y * NOISE**-2) / precision + off
            pyro.sample("z", dist.Normal(own, narrow * precision**-0.5))

    return guide


def test_a_shared_latent_is_ranked_with_one_datum_and_the_total_of_each_simulation():
    view = EnergyView(shared).bind(torch.zeros(20))
    right = calibrate(view, shared_posterior(1.0), repeats=120)
    assert right.table.pit.shape == (5, 120)
    assert right.p_value > 1e-3
    narrow, by_prior = calibrate(view, shared_posterior(0.85), repeats=120), calibrate(view, group, repeats=120)
    assert (narrow.worst, narrow.passed) == (LOG_JOINT, False)
    assert chances(by_prior)["mu"] > 1e-3
    assert max(chances(by_prior)[name] for name in (LOG_LIKELIHOOD, TARP)) < 1e-8


def test_each_datum_has_its_turn_to_stand_for_all():
    guide = shared_posterior(1.0, off=torch.tensor([0.0, 0.0, 30.0]))
    found = calibrate(EnergyView(shared).bind(torch.zeros(3)), guide, repeats=60)
    high = found.table.pit.sel(quantity="z") < 0.01  # the truth below all draws
    assert 60 / 3 - 4.3 * (60 * 2 / 9) ** 0.5 < high.sum() < 60 / 3 + 4.3 * (60 * 2 / 9) ** 0.5


def mean(y):
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, NOISE), obs=y)


def fit_mean(y):
    """The posterior of a mean, in Pyro's store; seeds as careless fits do."""
    pyro.set_rng_seed(0)
    precision = 2.0**-2 + len(y) * NOISE**-2
    pyro.param("mean", y.sum() * NOISE**-2 / precision)  # a second call would leave the first value in the store
    return lambda _: pyro.sample("mu", dist.Normal(pyro.param("mean"), precision**-0.5))


def test_inference_done_anew_for_each_data_set_starts_from_a_clean_store_with_its_own_random_numbers():
    view = EnergyView(mean).bind(torch.zeros(6))
    found = calibrate(view, Refit(fit_mean), repeats=100, draws=19)
    assert found.p_value > 1e-3
    assert list(pyro.get_param_store()) == []
    offsets = found.table.pit.values * 20 % 1  # the U of each rank
    assert len(np.unique(offsets.round(9))) == offsets.size


EVEN = np.linspace(0.0, 1.0, 999)
OUTWARD = 0.5 + 0.5 * np.sign(EVEN - 0.5) * np.abs(2 * EVEN - 1) ** 0.5
INWARD = 0.5 + 0.5 * np.sign(EVEN - 0.5) * (2 * EVEN - 1) ** 2


@pytest.mark.parametrize(
    ("pit", "words"),
    [
        (EVEN**0.8, "lie too low: the truth is above half of them in 58.0 % of 999 cases, not 50 %"),
        (EVEN**1.3, "lie too high: the truth is below half of them in 58.7 % of 999 cases, not 50 %"),
        (0.98 + 0.02 * EVEN, "lie too low: the truth is above half of them in 100.0 %"),
        (OUTWARD, "it is too narrow in z: the central 90 % of its draws hold the truth in 81.0 % of 999 cases, not 90"),
        (INWARD, "it is too wide in z: the central 90 % of its draws hold the truth in 94.8 %"),
        (EVEN + 0.05 * np.sin(6 * np.pi * EVEN), "its draws of z have the wrong shape"),
    ],
)
def test_the_shape_of_the_ranks_is_put_in_words(pit, words):
    assert words in describe_failure("z", pit, 1e-5)


def test_bad_input_is_refused_before_the_work():
    for name in ("repeats", "draws", "processes"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            calibrate(VIEW, posterior(), **{name: 0})
    with pytest.raises(ValueError, match="repeats must be at least 5, got 4: each gives 10 independent ranks"):
        calibrate(VIEW, posterior(), repeats=4)
    with pytest.raises(ValueError, match="has no latents"):
        calibrate(EnergyView(lambda y: pyro.sample("y", dist.Normal(0.0, NOISE), obs=y)).bind(torch.tensor(0.3)), prior)
    with pytest.raises(ValueError, match=r"guide does not sample \['z'\]; its sites are \['other'\]"):
        calibrate(VIEW, lambda _: pyro.sample("other", dist.Normal(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"samples 'z' in the shape \(3,\), and the program in \(10, 3\)"):
        calibrate(VIEW, lambda _: pyro.sample("z", dist.Normal(torch.zeros(3), SCALES).to_event(1)))
    with pytest.raises(TypeError, match="fit must give a Pyro program.*got NoneType"):
        calibrate(VIEW, Refit(lambda _: None), repeats=5)


def test_an_undefined_quantity_is_refused_by_name_in_any_process():
    def undefined(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(torch.full((3,), torch.nan), SCALES, validate_args=False).to_event(1))

    with pytest.raises(RuntimeError, match=r"repeat \d failed: ValueError: \['z\[0\]', .* are nan in repeat \d"):
        calibrate(VIEW, undefined, repeats=5, processes=2)

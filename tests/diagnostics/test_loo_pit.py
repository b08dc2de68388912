"""Data predicted from the others: against closed forms, ArviZ, and models that are known to be right or wrong."""

import arviz as az
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyrometer import EnergyView, diagnose
from pyrometer.inference.arviz_versions import BEFORE_1
from pyrometer.inference.diagnostics.findings import on_loo_pit
from pyrometer.inference.diagnostics.inference_data import container, drawn_groups
from pyrometer.inference.diagnostics.loo_pit import LEVEL, loo_pit, pit_band, weighted_pit
from pyrometer.inference.diagnostics.rank_bands import departure, p_value

SIGMAS = 4.3
PRIOR = 2.0
Y = torch.tensor([0.3, -0.1, 2.9, 0.8, -1.7], dtype=torch.float64)


def normal(noise):
    """mu ~ N(0, 2^2), y ~ N(mu, noise^2), and guides of it, the exact posterior for 1."""

    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, noise), obs=y)

    def guide(ratio):
        def program(y):
            precision = PRIOR**-2 + len(y) * noise**-2
            pyro.sample("mu", dist.Normal(y.sum() * noise**-2 / precision, ratio * precision**-0.5))

        return program

    return EnergyView(model), guide


def table_of(view, guide, draws=1000):
    groups, _ = drawn_groups(view, guide, draws, sum_discrete=True)
    return loo_pit(view, groups)


@pytest.mark.parametrize("ratio", [1.0, 1.4])
def test_it_is_the_closed_form_of_a_normal_mean_for_guides_that_weights_correct(ratio):
    """p(y_n | y_-n) is normal: the posterior of the mean without y_n, and the noise."""
    noise, draws = 0.8, 40_000
    view, guide = normal(noise)
    table = table_of(view.bind(Y), guide(ratio), draws)
    precision = PRIOR**-2 + (len(Y) - 1) * noise**-2
    mean = (Y.sum() - Y) * noise**-2 / precision
    exact = dist.Normal(mean, (1 / precision + noise**2) ** 0.5).cdf(Y).numpy()
    within = dist.Normal(Y.mean(), noise).cdf(Y).numpy()
    error = np.sqrt(exact * (1 - exact) / (draws / 4))  # the weights leave a quarter of the draws, at least
    assert (np.abs(table.pit.values[0] - exact) < SIGMAS * error).all()
    assert (np.abs(table.pit.values[0] - within) > SIGMAS * error).any()
    assert (table.pareto_k < 0.7).all()


def test_it_is_arviz_s_own():
    """ArviZ breaks no ties of continuous data: it differs by what one draw is worth, at most."""
    view, guide = normal(0.8)
    y = torch.linspace(-2.0, 3.0, 12, dtype=torch.float64)
    groups, _ = drawn_groups(view.bind(y), guide(1.0), 2000, sum_discrete=True)
    data = container(groups, {})
    theirs = az.loo_pit(data, y="y") if BEFORE_1 else az.loo_pit(data, var_names="y")["y"]
    np.testing.assert_allclose(loo_pit(view.bind(y), groups).pit.values[0], np.asarray(theirs), atol=2e-3)


def counts(y):
    rate = pyro.sample("rate", dist.Gamma(torch.tensor(2.0, dtype=torch.float64), 0.5))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)


def counts_guide(y):
    pyro.sample("rate", dist.Gamma(2.0 + y.sum(), torch.tensor(0.5 + len(y), dtype=torch.float64)))


def test_of_discrete_data_it_lies_between_the_closed_forms_of_less_and_at_most():
    """Gamma and Poisson: y_n without itself is negative binomial."""
    y, draws = torch.tensor([0.0, 3.0, 9.0, 4.0, 2.0, 2.0], dtype=torch.float64), 40_000
    pit = table_of(EnergyView(counts).bind(y), counts_guide, draws).pit.values[0]
    shape, rate = 2.0 + y.sum() - y, 0.5 + len(y) - 1
    without = dist.NegativeBinomial(shape, torch.tensor(1 / (1 + rate), dtype=torch.float64))
    for n, own in enumerate(y):
        masses = without.log_prob(torch.arange(own + 1, dtype=torch.float64)[:, None]).exp()[:, n]
        error = SIGMAS * (0.25 / (draws / 4)) ** 0.5
        assert masses[:-1].sum() - error < pit[n] < masses.sum() + error


def test_with_equal_weights_ranks_are_uniform_with_ties_and_without():
    """Data and draws of one distribution, judged at the level of 0.2 by the band itself: 20 % fail, and no more."""
    failed = np.zeros(2)
    for _ in range(300):
        for place, values in enumerate([torch.randn(41, 30), torch.randint(3, (41, 30)).double()]):
            u = weighted_pit(values[:1].T, values[1:].unsqueeze(-1), torch.zeros(40, 30, dtype=torch.float64))
            failed[place] += p_value(30, departure(u[:, 0].numpy()).item()) <= 0.2
    expected, error = 0.2, (0.2 * 0.8 / 300) ** 0.5
    assert (failed / 300 < expected + SIGMAS * error).all()
    assert (failed / 300 > 0.05).all()


def test_the_right_model_passes_at_least_as_often_as_the_level_says():
    """Of 100 data sets of the model, one is expected to fail at 99 %; more than 6 have the probability 1e-5."""
    view, guide = normal(0.7)
    failed = 0
    for _ in range(100):
        y = PRIOR * torch.randn((), dtype=torch.float64) + 0.7 * torch.randn(80, dtype=torch.float64)
        (finding,) = on_loo_pit(table_of(view.bind(y), guide(1.0), 200))
        failed += finding.level != "good"
    assert failed <= 6


@pytest.mark.parametrize(
    ("noise", "level", "words"),
    [(1.0, "good", "lie where the model predicts"), (0.5, "care", "too narrow"), (2.0, "care", "too wide")],
)
def test_noise_that_is_twice_too_small_or_too_large_is_told_in_words(noise, level, words):
    y = 0.7 + torch.randn(200, dtype=torch.float64)
    view, guide = normal(noise)
    found = diagnose(view.bind(y), guide(1.0))
    assert found.level == "good"  # the guide is
    (finding,) = [one for one in found.findings if "LOO-PIT" in one.said]
    assert finding.level == level
    assert words in finding.said
    u = found.tables["loo_pit"].pit.values[0]
    share = 100 * (abs(u - 0.5) <= 0.45).mean()
    assert f"{share:.1f} % of 200 data of y" in finding.said
    assert abs(share - 100 * (2 * dist.Normal(0.0, 1.0).cdf(torch.tensor(1.6449 * noise)).item() - 1)) < 12


@pytest.mark.parametrize(("shift", "words"), [(1.0, "too low"), (-1.0, "too high")])
def test_a_mean_that_cannot_follow_the_data_is_told_in_words(shift, words):
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 0.01))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 1.5), obs=y)

    def guide(y):
        precision = 0.01**-2 + len(y) * 1.5**-2
        pyro.sample("mu", dist.Normal(y.sum() * 1.5**-2 / precision, precision**-0.5))

    y = shift + 1.5 * torch.randn(150, dtype=torch.float64)
    (finding,) = on_loo_pit(table_of(EnergyView(model).bind(y), guide))
    assert words in finding.said


def local(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2, dtype=y.dtype), 2.0).to_event(1))
        pyro.sample("y", dist.Normal(z, 0.5).to_event(1), obs=y)


def far_off(y):
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y + 3.0, 0.2).to_event(1))


def test_where_no_latent_is_shared_data_are_ranked_in_the_prior_whatever_the_guide():
    """Without y_n nothing is known of z_n: y_n ~ N(0, 2^2 + 0.5^2) by itself."""
    y = 4.25**0.5 * torch.randn(150, 2, dtype=torch.float64)
    found = diagnose(EnergyView(local).bind(y), far_off, 1000)
    assert found.level == "bad"
    table = found.tables["loo_pit"]
    assert list(table["quantity"].values) == ["y[0]", "y[1]"]
    assert "pareto_k" not in table
    exact = dist.Normal(0.0, 4.25**0.5).cdf(y[:10]).T.numpy()
    error = np.sqrt(exact * (1 - exact) / 1000)
    assert (np.abs(table.pit.values[:, :10] - exact) < SIGMAS * error + 1 / 1000).all()
    assert [one.level for one in found.findings if "LOO-PIT" in one.said] == ["good"]
    (finding,) = on_loo_pit(table_of(EnergyView(local).bind(2.0 * y), far_off))
    assert "too narrow" in finding.said


def mixture(y):
    """Which of two far components a datum is of is its own; where they lie is shared, and all but known."""
    place = pyro.sample("place", dist.Normal(torch.tensor(3.0, dtype=y.dtype), 0.05))
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7], dtype=y.dtype)))
        pyro.sample("y", dist.Normal(place * (2 * k - 1), torch.tensor(0.6, dtype=y.dtype)), obs=y)


def test_a_discrete_latent_of_the_datum_alone_is_summed_out_of_its_prediction():
    """Given its own component, y_n would seem to lie in the middle of it: the mixture's CDF is another."""

    def guide(y):  # noqa: ARG001
        pyro.sample("place", dist.Normal(torch.tensor(3.0, dtype=torch.float64), 0.05))

    y = torch.tensor([-3.4, -2.9, 2.6, 3.0, 3.3, -3.1], dtype=torch.float64)
    table = table_of(EnergyView(mixture).bind(y), guide, 10_000)
    low, high = (dist.Normal(centre, (0.6**2 + 0.05**2) ** 0.5).cdf(y) for centre in (-3.0, 3.0))
    exact = (0.3 * low + 0.7 * high).numpy()
    # The six others move the place by at most 0.02 of its spread of 0.05, hardly anything beside the noise of 0.6.
    np.testing.assert_allclose(table.pit.values[0], exact, atol=SIGMAS * (0.25 / 5000) ** 0.5 + 0.01)
    assert (table.pareto_k < 0.7).all()


def test_it_is_summed_beside_continuous_latents_that_are_the_datums_too():
    """A guide that is the prior, corrected by the likelihood of four data; theirs hold z_n a little."""

    def model(y):
        place = pyro.sample("place", dist.Normal(torch.tensor(3.0, dtype=y.dtype), 0.05))
        with pyro.plate("data", len(y)):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.3, 0.7], dtype=y.dtype)))
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 0.5))
            pyro.sample("y", dist.Normal(place * (2 * k - 1) + z, torch.tensor(0.9, dtype=y.dtype)), obs=y)

    def prior(y):
        pyro.sample("place", dist.Normal(torch.tensor(3.0, dtype=y.dtype), 0.05))
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 0.5))

    y = torch.tensor([-3.4, 1.9, 4.4, 3.0], dtype=torch.float64)
    table = table_of(EnergyView(model).bind(y), prior, 10_000)
    scale = (0.05**2 + 0.5**2 + 0.9**2) ** 0.5
    exact = (0.3 * dist.Normal(-3.0, scale).cdf(y) + 0.7 * dist.Normal(3.0, scale).cdf(y)).numpy()
    np.testing.assert_allclose(table.pit.values[0], exact, atol=SIGMAS * (0.25 / 3000) ** 0.5)


def test_data_that_hold_latents_alone_are_not_judged_and_that_is_said():
    def held(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 1.5))
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Normal(mu, 2.0))
            pyro.sample("y", dist.Normal(z, 0.05), obs=y)

    def guide(y):
        precision = 1.5**-2 + len(y) * (2.0**2 + 0.05**2) ** -1
        mu = pyro.sample("mu", dist.Normal(y.sum() / (2.0**2 + 0.05**2) / precision, precision**-0.5))
        own = 2.0**-2 + 0.05**-2
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal((mu * 2.0**-2 + y * 0.05**-2) / own, own**-0.5))

    y = 0.4 + 2.0 * torch.randn(40, dtype=torch.float64)
    found = diagnose(EnergyView(held).bind(y), guide)
    assert found.level == "good"
    (finding,) = [one for one in found.findings if "LOO-PIT" in one.said]
    assert finding.level == "care"
    assert "is not known" in finding.said
    assert "of 40 data, up to" in finding.said


def test_what_a_mask_leaves_out_is_not_judged():
    """Half of the data are -100, masked: neither the LOO-PIT nor the predictive checks look at them."""
    seen = torch.arange(60) % 2 == 0

    def masked(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
        with pyro.plate("data", len(y)), pyro.poutine.mask(mask=seen):
            pyro.sample("y", dist.Normal(mu, 0.7), obs=y)

    def guide(y):
        precision = PRIOR**-2 + 30 * 0.7**-2
        pyro.sample("mu", dist.Normal(y[seen].sum() * 0.7**-2 / precision, precision**-0.5))

    y = torch.where(seen, 0.5 + 0.7 * torch.randn(60, dtype=torch.float64), -100.0)
    found = diagnose(EnergyView(masked).bind(y), guide)
    assert [one.level for one in found.findings] == ["good", "good"]
    table = found.tables["loo_pit"]
    assert (table.pit.notnull().values[0] == seen.numpy()).all()
    assert "of 30 data" in found.findings[-1].said
    assert found.tables["predictions"].observed.sel(statistic="minimum").item() == y[seen].min()
    assert pit_band(table).upper[49] == pit_band(table.isel(data=slice(0, None, 2))).upper[49]


def test_a_masked_element_is_left_out_in_its_row_alone():
    view = EnergyView(local).bind(torch.zeros(20, 2, dtype=torch.float64))
    groups, _ = drawn_groups(view, far_off, 100, sum_discrete=True)
    observed = groups["observed_data"].copy(deep=True)
    observed.y[3, 1] = np.nan
    table = loo_pit(view, groups | {"observed_data": observed})
    assert table.pit.isnull().sum("data").values.tolist() == [0, 1]
    assert np.isfinite(table.p).all()


@pytest.mark.parametrize("kind", ["no plate", "factor"])
def test_what_cannot_be_left_out_has_no_table_and_the_reason_is_kept(kind):
    def model(y):
        if kind == "no plate":
            mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
            pyro.sample("y", dist.Normal(mu, 0.5).expand([len(y)]).to_event(1), obs=y)
        else:
            with pyro.plate("data", len(y)):
                mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
                pyro.factor("bump", -(mu**2))
                pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    def guide(y):
        if kind == "no plate":
            pyro.sample("mu", dist.Normal(y.mean(), 0.3))
        else:
            with pyro.plate("data", len(y)):
                pyro.sample("mu", dist.Normal(y / 2, 0.3))

    view = EnergyView(model).bind(Y)
    words = {"no plate": "cannot be left out one by one", "factor": r"['bump'] are factors"}[kind]
    assert words in table_of(view, guide).attrs["no_loo_pit"]
    assert "loo_pit" not in diagnose(view, guide).tables


def test_of_many_data_a_thousand_are_left_out():
    y = torch.randn(2500, dtype=torch.float64)
    view, guide = normal(1.0)
    table = table_of(view.bind(y), guide(1.0), 100)
    assert table.sizes["data"] == 1000
    assert table["data"].values[[0, -1]].tolist() == [0, 2499]
    assert LEVEL == 0.99

"""The tables of a diagnosis against what is known of made-up guides, and what is said of them."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import AutoDelta

from pyrometer import EnergyView, diagnose
from pyrometer.inference.diagnostics.active_units import active_units
from pyrometer.inference.diagnostics.discrepancy import farthest, off_by
from pyrometer.inference.diagnostics.findings import on_funnels, on_labels, on_predictions, on_push, on_units
from pyrometer.inference.diagnostics.label_calibration import label_calibration
from pyrometer.inference.diagnostics.predictive_checks import predictive_checks
from pyrometer.inference.diagnostics.push import push
from pyrometer.inference.diagnostics.reference import nuts_draws, reference_draws

SIGMAS = 4.3
Y = torch.tensor([0.3, -0.1, 1.2, 0.8], dtype=torch.float64)
PRIOR, NOISE = 2.0, 0.5
PRECISION = PRIOR**-2 + len(Y) * NOISE**-2
POSTERIOR = dist.Normal(Y.sum() * NOISE**-2 / PRECISION, torch.tensor(PRECISION, dtype=torch.float64) ** -0.5)


def shared(y):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, NOISE), obs=y)


def guide(shift=0.0, ratio=1.0):
    def program(y):  # noqa: ARG001
        pyro.sample("mu", dist.Normal(POSTERIOR.loc + shift * POSTERIOR.scale, ratio * POSTERIOR.scale))

    return program


VIEW = EnergyView(shared)


def reference(count=4000):
    return {"mu": POSTERIOR.sample((4, count // 4))}


def test_the_right_guide_is_good_and_reference_draws_agree():
    found = diagnose(VIEW.bind(Y), guide(), 1000, reference())
    assert found.level == "good"
    assert "agree with the reference draws" in found.findings[0].said
    assert abs(found.tables["reference"].mu.sel(moment="shift").item()) < SIGMAS / 1000**0.5 * 1.2


@pytest.mark.parametrize(("shift", "ratio"), [(0.0, 1.6), (0.0, 0.72)])
def test_a_guide_that_weights_can_correct_is_to_be_reweighted(shift, ratio):
    found = diagnose(VIEW.bind(Y), guide(shift, ratio), 10_000)
    assert found.level == "care"
    assert found.verdict.startswith("Reweight")
    assert "resample=True" in found.verdict
    assert f"{ratio:.1f}" in found.verdict
    assert np.exp(found.tables["moments"].mu.sel(moment="log_ratio")).item() == pytest.approx(ratio, rel=0.05)


def test_a_shifted_guide_has_not_arrived():
    """A shift of half a posterior standard deviation pushes back with half a nat a standard deviation."""
    found = diagnose(VIEW.bind(Y), guide(0.5), 4000)
    assert found.level == "bad"
    assert "has not arrived" in found.verdict
    assert "more steps" in found.verdict
    assert found.tables["push"]["push"].item() == pytest.approx(-0.5, abs=SIGMAS * 4000**-0.5)


def test_a_guide_that_misses_a_mode_is_good_by_its_weights_and_bad_beside_reference_draws():
    def two_modes(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 3.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu.abs(), 0.2), obs=y)

    y = torch.full((40,), 2.0, dtype=torch.float64)
    precision = 3.0**-2 + 40 * 0.2**-2
    one = dist.Normal(torch.tensor(80.0 * 0.2**-2 / precision, dtype=torch.float64), precision**-0.5)

    def one_mode(y):  # noqa: ARG001
        pyro.sample("mu", one)

    view = EnergyView(two_modes).bind(y)
    assert diagnose(view, one_mode, 2000).level == "good"
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(500)
    found = diagnose(view, one_mode, 2000, {"mu": (one.sample((1000,)) * signs).unsqueeze(0)})
    assert found.level == "bad"
    assert "such as a second mode" in found.verdict


def test_a_guide_whose_tails_alone_are_wrong_is_saved_by_reference_draws():
    def heavy(y):  # noqa: ARG001
        pyro.sample("z", dist.StudentT(3.0, torch.zeros((), dtype=torch.float64), 1.0))
        pyro.factor("nothing", torch.zeros((), dtype=torch.float64))

    def light(y):  # noqa: ARG001
        pyro.sample("z", dist.Normal(torch.zeros((), dtype=torch.float64), 1.6))

    view = EnergyView(heavy).bind(Y)
    draws = dist.StudentT(3.0, torch.zeros((), dtype=torch.float64), 1.0).sample((4, 1000))
    alone, beside = diagnose(view, light, 20_000), diagnose(view, light, 20_000, {"z": draws})
    assert (alone.level, beside.level) == ("bad", "care")
    assert "its tails cannot" in beside.verdict


def test_a_point_mass_is_bad_and_the_reference_says_by_how_much():
    point = AutoDelta(shared)
    point(Y)
    with torch.no_grad():
        next(point.parameters()).fill_(POSTERIOR.loc + 0.5 * POSTERIOR.scale)
    found = diagnose(VIEW.bind(Y), point, 1000, reference())
    assert (found.level, found.criterion) == ("bad", "point mass")
    assert "point mass on ['mu']" in found.verdict
    assert found.tables["reference"].mu.sel(moment="shift").item() == pytest.approx(0.5, abs=0.1)
    assert "0.00 times" in found.findings[0].said


def test_nuts_is_run_and_agrees():
    pyro.set_rng_seed(0)
    state = torch.get_rng_state()
    draws, divergences = nuts_draws(VIEW.bind(Y), draws=400, warmup=200)
    assert torch.equal(torch.get_rng_state(), state)
    assert draws["mu"].shape == (2, 400)
    assert divergences == 0
    assert draws["mu"].mean().item() == pytest.approx(POSTERIOR.loc.item(), abs=0.05)
    assert draws["mu"].std().item() == pytest.approx(POSTERIOR.scale.item(), rel=0.15)


def test_nuts_that_would_take_hours_is_refused_before_it_starts(monkeypatch):
    from pyrometer.inference.diagnostics import reference as module

    monkeypatch.setattr(module, "LONGEST", 1e-3)
    with pytest.raises(ValueError, match="NUTS would take some .* minutes"):
        diagnose(VIEW.bind(Y), guide(), reference="nuts")


def test_references_of_another_program_are_refused():
    for wrong, words in (
        ({"nu": torch.zeros(2, 10)}, r"draws of 'nu'; the program's latents and what it computes are \['mu'\]"),
        ({"y": torch.zeros(2, 10, 4)}, r"draws of 'y'; the program's latents and what it computes are \['mu'\]"),
        ({"mu": torch.zeros(2, 10).long()}, r"\['mu'\], none of which is continuous"),
        ({"mu": torch.zeros(2, 3)}, r"shape \(2, 3\); expected chains, at least 4 draws"),
        ({"mu": torch.full((2, 10), torch.nan)}, "nan or infinite, 20 of 20 numbers"),
        ({"mu": torch.zeros(10)}, r"shape \(10,\); expected chains, at least 4 draws"),
        ("hmc", "must be 'nuts', the result of MCMC, or draws by site; got 'hmc'"),
    ):
        with pytest.raises(ValueError, match=words):
            diagnose(VIEW.bind(Y), guide(), reference=wrong)
    mcmc = MCMC(NUTS(shared), num_samples=4)
    mcmc._samples = {"mu": torch.zeros(1, 4)}
    assert reference_draws(VIEW.bind(Y), mcmc).attrs["reference"] == "MCMC"


def test_reference_draws_may_be_arrays_of_numpy():
    draws = np.random.default_rng(0).normal(size=(2, 100))
    np.testing.assert_array_equal(reference_draws(VIEW.bind(Y), {"mu": draws}).mu, draws)


def test_nuts_refuses_subsampled_data():
    def subsampled(y):
        with pyro.plate("data", len(y), subsample_size=2) as index:
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
            pyro.sample("y", dist.Normal(z, 0.5), obs=y[index])

    with pytest.raises(ValueError, match="plate 'data' is subsampled: NUTS would see other data"):
        nuts_draws(EnergyView(subsampled).bind(Y), draws=10, warmup=10, chains=1)


def test_what_is_off_is_not_hidden_by_the_noise_of_another_element_nor_by_nan():
    """b is 0.5 off beyond doubt; a may be 0.9 off or not at all, c has no spread."""
    rows = {"c": [np.nan, np.nan, np.nan, np.nan], "a": [0.9, 0.4, 0.8, 0.4], "b": [0.5, 0.01, -0.5, 0.01]}
    names = ["shift", "shift_error", "log_ratio", "log_ratio_error"]
    moments = xr.Dataset({name: ("moment", row) for name, row in rows.items()}, {"moment": names})
    mean, spread = off_by(moments)
    assert mean == "its mean of b is +0.50 ± 0.01 posterior standard deviations off"
    assert spread.startswith("its standard deviation of b is 0.61 ± 0.01")
    assert off_by(moments[["a", "c"]]) == off_by(moments[["c"]]) == []
    assert farthest(moments, "shift").name == "a"
    assert farthest(moments[["c"]], "shift") is None


def test_a_gradient_that_is_not_finite_gives_no_push():
    """The slope of the root below 0 is nan, times 0, where the guide has a part of its draws."""

    def edge(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(torch.where(mu > 0.0, mu.sqrt(), 0.0), NOISE), obs=y)

    table = push(EnergyView(edge).bind(Y), guide(-3.0))
    assert "push" not in table
    assert "nan or infinite" in table.attrs["no_push"]


def test_infinite_weights_are_refused_with_their_number():
    def at_zero(y):
        scale = pyro.sample("scale", dist.Exponential(torch.ones((), dtype=y.dtype)))
        pyro.factor("singular", torch.where(scale < 0.5, math.inf, 0.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(0.0, 1.0 + scale), obs=y)

    def exponential(y):
        pyro.sample("scale", dist.Exponential(torch.ones((), dtype=y.dtype)))

    with pytest.raises(ValueError, match=r"of 500 draws of the guide have a log weight of nan or \+inf"):
        diagnose(EnergyView(at_zero).bind(Y), exponential, 500)


def test_a_guide_outside_the_support_is_told_so():
    def positive(y):
        scale = pyro.sample("scale", dist.Exponential(torch.ones((), dtype=y.dtype)))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(0.0, 1.0 + scale), obs=y)

    def normal(y):
        pyro.sample("scale", dist.Normal(torch.ones((), dtype=y.dtype), 1.0))

    found = diagnose(EnergyView(positive).bind(Y), normal, 500)
    assert found.level == "bad"
    assert "give the guide the same supports" in found.verdict


def test_active_units_are_the_variance_between_data_over_the_priors():
    rng = np.random.default_rng(0)
    means = np.stack([1.2 * rng.normal(size=400), 0.3 * rng.normal(size=400), np.zeros(400)], -1)
    z = means + 0.5 * rng.normal(size=(1, 100, 400, 3))
    prior = 2.0 * rng.normal(size=(1, 100, 400, 3))
    dims = ("chain", "draw", "data", "z_dim_1")
    posterior = xr.Dataset({"z": (dims, z), "k": (dims, z > 0)})
    table = active_units(posterior, xr.Dataset({"z": (dims, prior)}), "data")
    expected = np.array([1.2**2, 0.3**2, 0.0]) / 4
    assert list(table) == ["z"]
    np.testing.assert_allclose(table.z, expected, atol=SIGMAS * np.sqrt(2 / 400) * expected.max())
    assert abs(table.z[2].item()) < 2e-4  # the noise of 100 draws, 6e-4, is taken off
    (finding,) = on_units(table)
    assert finding.said.startswith("2 of 3 dimensions of z are active")
    assert on_units(table.isel(z_dim_1=[2]))[0].level == "bad"
    assert on_units(table.isel(z_dim_1=[0]))[0].level == "good"
    assert not active_units(posterior.isel(data=slice(0, 19)), posterior, "data")


def labelled(temper, count=4000):
    """A guide that knows its probabilities, times ``temper`` in the logits, and labels drawn by the right ones."""
    logits = 1.5 * torch.randn(count, 3)
    truth = dist.Categorical(logits=logits).sample()

    def model(x):
        with pyro.plate("data", len(x)):
            k = pyro.sample("k", dist.Categorical(torch.ones(3) / 3))
            pyro.sample("x", dist.Normal(k, 1.0), obs=x)

    def program(x):
        with pyro.plate("data", len(x)):
            pyro.sample("k", dist.Categorical(logits=temper * logits))

    return EnergyView(model).bind(torch.zeros(count)), program, truth


@pytest.mark.parametrize(
    ("temper", "level", "words"), [(1.0, "good", ""), (3.0, "care", "too sure"), (0.4, "care", "not")]
)
def test_labels_are_calibrated_where_the_probabilities_are_frequencies(temper, level, words):
    view, program, truth = labelled(temper)
    table = label_calibration(view, program, {"k": truth})
    if temper == 1.0:
        assert table.ece.item() == pytest.approx(table.ece_if_calibrated.item(), rel=0.8)
    (finding,) = on_labels(table)
    assert finding.level == level
    assert words in finding.said


def test_accuracy_confidence_and_ece_are_those_computed_by_hand():
    view, program, truth = labelled(2.0, 200)
    table = label_calibration(view, program, {"k": truth}, draws=1)
    trace = pyro.poutine.trace(program).get_trace(torch.zeros(200))
    probabilities = trace.nodes["k"]["fn"].probs.double()
    confidence, chosen = probabilities.max(-1)
    right = (chosen == truth).double()
    order = confidence.argsort().reshape(10, 20)
    ece = (right[order].mean(1) - confidence[order].mean(1)).abs().mean()
    assert table.accuracy.item() == pytest.approx(right.mean().item())
    assert table.confidence.item() == pytest.approx(confidence.mean().item())
    assert table.ece.item() == pytest.approx(ece.item())


def test_labels_of_no_site_or_too_few_are_refused():
    view, program, truth = labelled(1.0, 100)
    with pytest.raises(ValueError, match=r"labels names 'digit'; the guide's discrete sites are \['k'\]"):
        diagnose(view, program, labels={"digit": truth})
    with pytest.raises(ValueError, match=r"shape \(50,\); expected one for each datum, \(100,\)"):
        diagnose(view, program, labels={"k": truth[:50]})


def test_p_values_count_simulations_beyond_the_data():
    observed = xr.Dataset({"y": ("data", np.array([0.0, 1.0, 5.0]))})
    simulated = np.array([[[0.0, 1.0, 2.0], [0.0, 1.0, 6.0], [0.0, 1.0, 5.0], [-1.0, 4.0, 9.0]]])
    table = predictive_checks(xr.Dataset({"y": (("chain", "draw", "data"), simulated)}), observed)
    rows = table.sel(site="y")
    assert rows.p.sel(statistic="maximum").item() == pytest.approx((2 + 0.5) / 4)
    assert rows.p.sel(statistic="minimum").item() == pytest.approx(1.5 / 4)
    assert rows.observed.sel(statistic="mean").item() == pytest.approx(2.0)
    assert rows.simulated.sel(statistic="mean").item() == pytest.approx(simulated.mean())


def test_data_that_the_model_does_not_make_are_named():
    def model(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), PRIOR))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, NOISE), obs=y)

    y = torch.linspace(-3.0, 3.0, 50, dtype=torch.float64)
    precision = PRIOR**-2 + 50 * NOISE**-2

    def exact(y):
        pyro.sample("mu", dist.Normal(y.sum() * NOISE**-2 / precision, precision**-0.5))

    found = diagnose(EnergyView(model).bind(y), exact, 500)
    assert found.level == "good"  # the guide is: the model is not
    assert any("does not make the sd of y" in finding.said for finding in found.findings)


def test_funnels_pushes_and_predictions_are_quiet_where_nothing_is_wrong():
    table = xr.Dataset({"push": ("direction", [0.19]), "push_error": ("direction", [0.001])}, {"direction": ["z[0]"]})
    assert on_push(table) == on_push(None) == on_funnels(None) == on_predictions(xr.Dataset()) == []
    assert len(on_push(table.assign(push=-table["push"] - 0.02))) == 1
    noisy = table.assign(push=table["push"] + 0.1, push_error=table.push_error + 0.1)
    assert on_push(noisy) == []

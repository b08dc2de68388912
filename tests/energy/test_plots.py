"""Pictures show what was computed: lines, bands, bars, maps and markers, read back from the axes."""

import io
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matplotlib import pyplot
from matplotlib.figure import Figure

import pyrometer
from pyrometer.inference.energy.color_map import contour_levels

BETAS = np.array([0.5, 1.0, 4.0])
NOISE = 0.6


def ellipse(y):
    with pyro.plate("data", len(y)):
        angle = pyro.sample("angle", dist.Uniform(torch.tensor(-math.pi, dtype=torch.float64), math.pi))
        mean = torch.stack([2.0 * angle.cos(), 1.5 * angle.sin()], -1)
        pyro.sample("y", dist.Normal(mean, NOISE).to_event(1), obs=y)


def ellipse_energy(angle, y):
    """By hand: -log of 1 / (2 pi) and of two normal densities."""
    distance = (y[0] - 2.0 * np.cos(angle)) ** 2 + (y[1] - 1.5 * np.sin(angle)) ** 2
    return distance / (2 * NOISE**2) + math.log(2 * math.pi * NOISE**2) + math.log(2 * math.pi)


def normal_energy(z, mean, scale):
    return 0.5 * ((z - mean) / scale) ** 2 + math.log(scale) + 0.5 * math.log(2 * math.pi)


def bound(model, data, **kwargs):
    return pyrometer.EnergyView(model, **kwargs).bind(torch.tensor(data, dtype=torch.float64))


def ladder(bound="estimate", base="uniform", unknown=()):
    """A ladder of two data written by hand: no two numbers alike, errors nan at the places ``unknown``."""
    columns = {}
    for offset, name in enumerate(("free_energy", "mean_energy", "heat_capacity")):
        values = 10.0 + 7 * offset + np.arange(3)[:, None] * [1.0, 0.3]
        errors = 0.1 + 0.1 * offset + np.arange(3)[:, None] * [0.02, 0.05]
        errors[list(unknown)] = np.nan
        columns |= {f"{name}_per_datum": (("beta", "data"), values), name: ("beta", values.sum(1))}
        columns |= {f"{name}_error_per_datum": (("beta", "data"), errors), f"{name}_error": ("beta", errors.sum(1))}
    columns |= {"zero_temperature": 31.0, "zero_temperature_per_datum": ("data", [16.0, 15.0])}
    return xr.Dataset(columns, {"beta": BETAS}).assign_attrs(bound=bound, method="annealing", base=base)


def gaps(**changes):
    values = {"entropic_gap": -2.0, "gap": 3.5, "approximation_gap": 1.25, "amortization_gap": 2.25} | changes
    errors = {f"{name}_error": 0.1 * place for place, name in enumerate(values)}
    by_datum = {f"{name}_per_datum": ("data", [0.25 * value, 0.75 * value]) for name, value in values.items()}
    return xr.Dataset(values | errors | by_datum)


def line(ax, label):
    return next(found for found in ax.lines if str(found.get_label()).startswith(label))


def edges(band):
    """The lower and upper edges of a band, in the order of beta."""
    corners = np.concatenate([path.vertices for path in band.get_paths()])
    at = {x: corners[corners[:, 0] == x, 1] for x in np.unique(corners[:, 0])}
    return {x: (heights.min(), heights.max()) for x, heights in at.items()}


def drawn_map(ax):
    """Coordinates along both axes, and the values (len(x), len(y))."""
    (mesh,) = (artist for artist in ax.collections if hasattr(artist, "get_coordinates"))
    grid = mesh.get_coordinates()
    return grid[0, :, 0], grid[:, 0, 1], np.asarray(mesh.get_array()).reshape(grid.shape[:2]).T


@pytest.mark.parametrize(("datum", "suffix", "limit"), [(None, "", 31.0), (1, "_per_datum", 15.0)])
def test_energies_over_beta_have_their_bands_and_their_limit(datum, suffix, limit):
    """Oracle: the table."""
    table = ladder()
    ax = pyrometer.plot_free_energy(table, datum)
    part = table if datum is None else table.isel(data=datum)
    names = {"mean_energy": "mean energy $U$", "free_energy": "free energy $F$"}
    for band, (name, label) in zip(ax.collections, names.items(), strict=True):
        values, errors = part[name + suffix].values, part[f"{name}_error{suffix}"].values
        np.testing.assert_array_equal(line(ax, label).get_xydata(), np.stack([BETAS, values], -1))
        expected = {beta: (v - 2 * e, v + 2 * e) for beta, v, e in zip(BETAS, values, errors, strict=True)}
        assert edges(band) == {beta: pytest.approx(pair, rel=1e-12) for beta, pair in expected.items()}
    assert set(line(ax, "$F_\\infty$").get_ydata()) == {limit}
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == ("energy, nats" if datum is None else "energy of datum 1, nats")


def test_where_an_error_is_unknown_the_line_is_dashed_and_says_so():
    ax = pyrometer.plot_free_energy(ladder(unknown=[0]))
    hollow = line(ax, "free energy $F$, error unknown")
    assert hollow.get_linestyle() == "--"
    assert hollow.get_markerfacecolor() == "white"
    assert np.isfinite(hollow.get_ydata()).tolist() == [True, False, False]
    solid = next(found for found in ax.lines if found.get_label() == "free energy $F$ $\\pm$ 2 errors")
    assert np.isfinite(solid.get_ydata()).tolist() == [False, True, True]
    assert set(edges(ax.collections[1])) == {1.0, 4.0}
    nothing_known = pyrometer.plot_free_energy(ladder(unknown=[0, 1, 2]))
    assert not nothing_known.collections
    labels = [text.get_text() for text in nothing_known.get_legend().get_texts()]
    assert sum("error unknown" in label for label in labels) == 2


def test_an_exact_ladder_has_no_band_and_a_ladder_on_the_prior_no_limit():
    ax = pyrometer.plot_free_energy(ladder(bound="exact", base="prior"))
    assert not ax.collections
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mean energy $U$", "free energy $F$"]


def test_the_limit_that_is_drawn_is_where_free_energies_go():
    """Oracle: F at beta = 1e4 is within log(1e4) / 1e4 of it."""
    table = bound(ellipse, [[0.3, 1.0]]).ladder([1.0, 1e4], base="uniform")
    limit = line(pyrometer.plot_free_energy(table), "$F_\\infty$").get_ydata()[0]
    assert limit == pytest.approx(table.free_energy[-1].item(), abs=1.5e-3)


def test_heat_capacities_have_their_bands():
    table = ladder()
    ax = pyrometer.plot_heat_capacity(table, 0)
    values, errors = (table[f"heat_capacity{part}_per_datum"].isel(data=0).values for part in ("", "_error"))
    np.testing.assert_array_equal(line(ax, "heat capacity").get_ydata(), values)
    expected = [(v - 2 * e, v + 2 * e) for v, e in zip(values, errors, strict=True)]
    assert list(edges(ax.collections[0]).values()) == [pytest.approx(pair, rel=1e-12) for pair in expected]
    assert "nats" not in ax.get_ylabel()


def test_gaps_are_bars_with_whiskers_of_two_errors():
    """Oracle: the table."""
    ax = pyrometer.plot_gaps(gaps())
    assert [bar.get_width() for bar in ax.patches] == [-2.0, 3.5, 1.25, 2.25]
    whiskers = [path.vertices[:, 0] for artist in ax.collections for path in artist.get_paths()]
    assert np.array(whiskers) == pytest.approx(np.array([[3.3, 3.7], [0.85, 1.65], [1.65, 2.85]]))
    shown = [text.get_text() for text in ax.texts]
    assert shown == ["\N{MINUS SIGN}2.000", "3.50 $\\pm$ 0.10", "1.25 $\\pm$ 0.20", "2.25 $\\pm$ 0.30"]
    one = pyrometer.plot_gaps(gaps(), datum=1)
    assert [bar.get_width() for bar in one.patches] == [-1.5, 2.625, 0.9375, 1.6875]
    assert one.get_xlabel() == "gap of datum 1, nats"


def test_gaps_that_are_absent_or_nan_have_no_bar():
    ax = pyrometer.plot_gaps(gaps(amortization_gap=math.nan).drop_vars("approximation_gap"))
    assert [bar.get_width() for bar in ax.patches] == [-2.0, 3.5]
    assert len(ax.get_yticklabels()) == 2
    with pytest.raises(ValueError, match="none of .*'entropic_gap'"):
        pyrometer.plot_gaps(ladder())


def test_a_table_of_compare_is_drawn():
    def guide(y):
        with pyro.plate("data", len(y)):
            pyro.sample("angle", dist.Uniform(torch.tensor(-math.pi, dtype=torch.float64), math.pi))

    table = pyrometer.compare(bound(ellipse, [[0.3, 1.0]]), guide, draws=200, family_steps=0)
    widths = [bar.get_width() for bar in pyrometer.plot_gaps(table).patches]
    assert widths == [table.entropic_gap.item(), table.gap.item()]


def test_the_energy_along_an_angle_and_both_tied_minima():
    """Oracle: the energy by hand; the minima of the centre are at +-pi/2, where the ellipse is nearest."""
    view = bound(ellipse, [[1.0, 1.0], [0.0, 0.0]])
    ax = pyrometer.plot_energy(view, datum=1)
    x, y = ax.lines[0].get_data()
    assert (x[0], x[-1]) == pytest.approx((-math.pi, math.pi), rel=1e-5)
    np.testing.assert_allclose(y, ellipse_energy(x, (0.0, 0.0)), rtol=1e-12)
    stars = line(ax, "lowest minimum, 2 tie")
    assert sorted(stars.get_xdata()) == pytest.approx([-math.pi / 2, math.pi / 2], abs=1e-4)
    assert stars.get_ydata() == pytest.approx(ellipse_energy(math.pi / 2, (0.0, 0.0)), abs=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("angle of datum 1", "energy of datum 1, nats")
    assert ax.get_title() == ""


def test_other_minima_are_marked_apart():
    """Oracle: E = (z^2 - 1)^2 + 0.2 z / 2, whose two minima differ; roots of its derivative."""

    def double_well(y):
        with pyro.plate("data", len(y)):
            z = pyro.sample("z", dist.Uniform(torch.tensor(-9.0).double(), 9.0))
            pyro.factor("well", -((z**2 - 1) ** 2 + y * z))

    ax = pyrometer.plot_energy(bound(double_well, [0.2]))
    left, _, right = np.sort(np.roots([4, 0, -4, 0.2]).real)
    assert line(ax, "lowest minimum").get_xdata() == pytest.approx([left], abs=1e-4)
    others = line(ax, "other minima")
    assert others.get_xdata() == pytest.approx([right], abs=1e-4)
    assert others.get_ydata() == pytest.approx((right**2 - 1) ** 2 + 0.2 * right + math.log(18.0), abs=1e-6)
    x, y = ax.lines[0].get_data()
    assert -2.5 < x[0] < -1.8
    assert 1.8 < x[-1] < 2.5  # and not the prior's +-9
    assert min(y[0], y[-1]) > y.min() + 7.9


def beside(y):
    """Six latents a datum, data on the plate to the left of another."""
    with pyro.plate("data", 2, dim=-2), pyro.plate("part", 3, dim=-1):
        z = pyro.sample("z", dist.Normal(0.5, 2.0).expand([2]).to_event(1))
        pyro.sample("y", dist.Normal(z.double(), 0.7).to_event(1), obs=y)


def beside_minimum(y):
    """The mode of a normal prior and a normal likelihood."""
    return (0.5 / 4 + y / 0.49) / (1 / 4 + 1 / 0.49)


def beside_energy(z, y):
    return normal_energy(z, 0.5, 2.0) + normal_energy(y, z, 0.7)


Y = np.linspace(-2, 3, 12).reshape(2, 3, 2) ** 2


def test_elements_of_a_vector_latent_count_through_one_datum():
    """Oracle: every element has an energy of its own, by hand; all but one are at their minima."""
    view, place = bound(beside, Y), (1, 2, 0)  # element 4 of datum 1
    ax = pyrometer.plot_energy(view, ("z", 4), datum=1)
    x, y = ax.lines[0].get_data()
    lowest = beside_energy(beside_minimum(Y), Y)
    expected = lowest[1].sum() - lowest[place] + beside_energy(x, Y[place])
    np.testing.assert_allclose(y, expected, rtol=2e-6)
    assert line(ax, "lowest").get_xdata() == pytest.approx([beside_minimum(Y)[place]], abs=1e-3)
    assert ax.get_xlabel() == "z[4] of datum 1"
    assert ax.get_title() == "the other latents at the minimiser"
    assert y[0] - y.min() == pytest.approx(8.0, rel=0.15)


def test_two_elements_are_a_map_with_contours():
    """Oracle: the sum of two energies by hand."""
    view, first, second = bound(beside, Y), (1, 0, 1), (1, 2, 0)
    ax = pyrometer.plot_energy(view, ("z", 1, 4), datum=1)
    x, y, values = drawn_map(ax)
    lowest = beside_energy(beside_minimum(Y), Y)
    rest = lowest[1].sum() - lowest[first] - lowest[second]
    expected = rest + beside_energy(x, Y[first])[:, None] + beside_energy(y, Y[second])
    np.testing.assert_allclose(values, np.minimum(expected, lowest[1].sum() + 16), rtol=3e-6)
    marker = line(ax, "lowest").get_xydata()[0]
    assert marker == pytest.approx([beside_minimum(Y)[first], beside_minimum(Y)[second]], abs=1e-3)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("z[1] of datum 1", "z[4] of datum 1")
    assert pyrometer.plot_energy(view, "z").get_ylabel() == "z[1] of datum 0"


def test_a_map_of_correlated_latents_reaches_around_the_low_energies():
    """Oracle: the definition; along the axes alone it would end where the energy is 1.5 nats above the lowest."""

    def correlated(y):
        with pyro.plate("data", len(y)):
            cov = torch.tensor([[4.0, 2.7], [2.7, 2.25]], dtype=torch.float64)
            z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2).double(), cov))
            pyro.sample("y", dist.Normal(z[..., 0], 50.0), obs=y)

    _, _, values = drawn_map(pyrometer.plot_energy(bound(correlated, [0.3])))
    edge = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]])
    assert edge.min() - values.min() > 7.5


def shared(y):
    mu = pyro.sample("mu", dist.Normal(torch.tensor(1.0).double(), 3.0))
    sigma = pyro.sample("sigma", dist.LogNormal(torch.tensor(0.0).double(), 0.5))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(mu, sigma), obs=y)


@pytest.mark.parametrize("plate", ["data", None])
def test_a_shared_latent_has_the_total_energy_and_others_are_given(plate):
    """Oracle: the energy by hand, with sigma held at a value of our own."""
    y, sigma = np.array([0.4, 2.0, -1.5]), 0.8
    held = {"sigma": torch.tensor(sigma, dtype=torch.float64)}
    view = bound(shared, y, plate=plate)
    ax = pyrometer.plot_energy(view, "mu", given=held)
    x, drawn = ax.lines[0].get_data()
    prior = normal_energy(x, 1.0, 3.0) + normal_energy(math.log(sigma), 0.0, 0.5) + math.log(sigma)
    expected = prior + sum(normal_energy(value, x, sigma) for value in y)
    np.testing.assert_allclose(drawn, expected, rtol=1e-10)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("mu", "energy, nats")
    mode = (1 / 9 + y.sum() / sigma**2) / (1 / 9 + 3 / sigma**2)
    assert line(ax, "lowest").get_xdata() == pytest.approx([mode], abs=1e-4)


def test_a_drawing_stays_inside_the_support_and_inside_limits_that_are_set():
    view = bound(shared, [0.4, 2.0, -1.5])
    assert pyrometer.plot_energy(view, "sigma").get_xlim()[0] >= 0
    ax = Figure().subplots()
    ax.set_xlim(0.5, 0.75)
    x = pyrometer.plot_energy(view, "sigma", ax=ax).lines[0].get_xdata()
    assert (x[0], x[-1], ax.get_xlim()) == (0.5, 0.75, (0.5, 0.75))


def test_a_minimum_that_is_passed_is_the_one_that_is_marked():
    view = bound(shared, [0.4, 2.0, -1.5])
    held = {"mu": torch.tensor(0.25, dtype=torch.float64)}
    minimum = view.zero_temperature(given=held)
    ax = pyrometer.plot_energy(view, "sigma", given=held, minimum=minimum)
    assert line(ax, "lowest").get_ydata() == [minimum.energy.item()]
    with pytest.raises(ValueError, match=r"minimum has no values of the latents \['mu'\]"):
        pyrometer.plot_energy(view, "sigma", minimum=minimum)


def simplex(y):
    share = pyro.sample("share", dist.Dirichlet(torch.full((3,), 2.0).double()))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Normal(share.prod(), 0.5), obs=y)


def only_discrete(y):
    with pyro.plate("data", len(y)):
        k = pyro.sample("k", dist.Bernoulli(0.3))
        pyro.sample("y", dist.Normal(k, 0.5), obs=y)


@pytest.mark.parametrize(
    ("model", "arguments", "message"),
    [
        (ellipse, {"latent": "angel"}, r"free continuous latents \['angle'\], got 'angel'"),
        (ellipse, {"latent": ("angle", 1)}, "one or two of the 1 elements of 'angle'"),
        (ellipse, {"datum": 1}, "one of the 1 data, got 1"),
        (shared, {"datum": 0}, "None for 'mu', which lies outside the data plate; got 0"),
        (simplex, {}, "ties its elements together"),
        (only_discrete, {}, "no free continuous latent"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(model, arguments, message):
    data = [[0.3, 1.0]] if model is ellipse else [0.3]
    with pytest.raises(ValueError, match=message):
        pyrometer.plot_energy(bound(model, data), **arguments)


@pytest.mark.parametrize("draw", [pyrometer.plot_free_energy, pyrometer.plot_heat_capacity])
def test_a_datum_that_a_ladder_lacks_is_refused(draw):
    with pytest.raises(ValueError, match="one of the table's 2 data, got 2"):
        draw(ladder(), 2)


@pytest.mark.parametrize("beta", [0.7, math.inf])
def test_a_map_is_one_call_and_shows_its_values(beta):
    """Oracle: F by a sum over 4,000 angles, its minimum at zero temperature."""
    calls = []

    def bind(points):
        calls.append(points)
        return pyrometer.EnergyView(ellipse).bind(points.double())

    x, y = np.array([-2.5, -0.4, 0.3, 1.9]), np.array([-1.6, 0.2, 2.0])
    x_drawn, y_drawn, values = drawn_map(pyrometer.plot_free_energy_map(bind, (x, y), beta, base="uniform"))
    assert [tuple(points.shape) for points in calls] == [(12, 2)]
    np.testing.assert_allclose(x_drawn, x, rtol=1e-6)
    np.testing.assert_allclose(y_drawn, y, rtol=1e-6)
    angles = np.linspace(-math.pi, math.pi, 4000, endpoint=False)
    for (i, j), found in np.ndenumerate(values):
        energies = ellipse_energy(angles, np.float32([x[i], y[j]]).astype(float))
        exact = energies.min() if beta == math.inf else -np.log(np.exp(-beta * energies).mean()) / beta
        assert found == pytest.approx(exact, abs=3e-5)


def test_maps_that_have_no_meaning_are_refused():
    grid = ([0.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match='base must be "lebesgue" or "uniform"'):
        pyrometer.plot_free_energy_map(pyrometer.EnergyView(ellipse).bind, grid, math.inf, base="prior")

    def coupled(y):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 0.5).expand([2]).to_event(1), obs=y)

    with pytest.raises(ValueError, match="a view of 4 independent data"):
        pyrometer.plot_free_energy_map(pyrometer.EnergyView(coupled).bind, grid)


def test_contours_are_round_numbers_closer_together_below():
    assert contour_levels(5.0, 5.0).size == 0
    levels = contour_levels(-31.7, 77.0)
    assert levels.tolist() == [-30.0, -25.0, -20.0, -15.0, -5.0, 5.0, 25.0, 45.0]


def test_axes_are_taken_and_returned_and_no_figure_stays_open():
    view = bound(ellipse, [[0.3, 1.0]])
    grid = ([-1.0, 0.0, 1.0], [-1.0, 1.0])
    drawings = [
        lambda **ax: pyrometer.plot_free_energy(ladder(), **ax),
        lambda **ax: pyrometer.plot_heat_capacity(ladder(), **ax),
        lambda **ax: pyrometer.plot_gaps(gaps(), **ax),
        lambda **ax: pyrometer.plot_energy(view, **ax),
        lambda **ax: pyrometer.plot_free_energy_map(
            lambda y: pyrometer.EnergyView(ellipse).bind(y.double()), grid, **ax
        ),
    ]
    for draw in drawings:
        ours = Figure(layout="constrained").subplots()
        assert draw(ax=ours) is ours
        alone = draw().get_figure()
        alone.savefig(io.BytesIO())  # it can be drawn
        assert isinstance(alone, Figure)
    assert pyplot.get_fignums() == []

"""What stands in the pictures of a diagnosis: read back from the axes."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

from pyrometer import EnergyView, diagnose
from pyrometer.inference.diagnostics import plot_loo_pit, plot_moments, plot_pareto_k, plot_reliability, plot_units
from pyrometer.inference.diagnostics.moments import MOMENTS, element_rows
from pyrometer.inference.diagnostics.rank_bands import rank_band
from pyrometer.inference.diagnostics.report.diagnosis_section import diagnosis_sections, verdict_of

Y = torch.linspace(-1.0, 2.0, 24, dtype=torch.float64)


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        pyro.sample("y", dist.Normal(z, 0.5), obs=y)


def guide(y):
    narrow = torch.ones(len(y), dtype=y.dtype)
    narrow[3] = 0.03
    with pyro.plate("data", len(y)):
        pyro.sample("z", dist.Normal(y * 4 / 4.25, narrow * 1.05 * 4.25**-0.5))


@pytest.fixture(scope="module")
def diagnosis():
    pyro.set_rng_seed(0)
    return diagnose(EnergyView(model).bind(Y), guide, 4000)


def test_pareto_k_of_each_datum_is_drawn_and_the_unreliable_stand_apart(diagnosis):
    ax = plot_pareto_k(diagnosis)
    good, bad, limit = ax.get_lines()
    assert len(good.get_xdata()) == 23
    assert bad.get_xdata().tolist() == [3]
    assert bad.get_ydata()[0] == pytest.approx(diagnosis.tables["gaps"].pareto_k[3].item())
    assert limit.get_ydata()[0] == diagnosis.limit
    own = Figure().subplots()
    assert plot_pareto_k(diagnosis, ax=own) is own


def test_without_k_by_datum_there_is_no_picture_of_it_and_the_page_says_how_data_were_left_out():
    def shared(y):
        mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=y.dtype), 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(mu, 0.5), obs=y)

    def posterior(y):
        precision = 0.25 + 4 * len(y)
        pyro.sample("mu", dist.Normal(4 * y.sum() / precision, precision**-0.5))

    found = diagnose(EnergyView(shared).bind(Y), posterior, 500)
    with pytest.raises(ValueError, match="no Pareto k by datum"):
        plot_pareto_k(found)
    k = found.tables["loo_pit"].pareto_k.max().item()
    assert f"Pareto k of up to {k:.2f}; above 0.63" in diagnosis_sections(found)[-1].text[1]


def table(**moments):
    rows = {name: ("moment", np.array([0.0, 1.0, *row])) for name, row in moments.items()}
    return xr.Dataset(rows).assign_coords(moment=MOMENTS)


def test_the_elements_most_off_come_first():
    """b is off by 3 tolerable shifts, a by 2, and c by a standard deviation of half its size."""
    moments = table(a=[0, 1, 0.5, 0.1, 0.0, 0.1], b=[0, 1, -0.75, 0.1, 0.0, 0.1], c=[0, 1, 0.0, 0.1, np.log(0.5), 0.1])
    assert [row["element"] for row in element_rows(moments)] == ["b", "c", "a"]
    ax = plot_moments(moments)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "a"]


def test_activity_is_drawn_largest_first():
    units = xr.Dataset({"z": ("d", [0.2, 0.9, -0.001])}).assign_attrs(active=0.01)
    ax = plot_units(units)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [0.9, 0.2, 1e-4])


def test_reliability_is_accuracy_over_confidence():
    values = {"bin_confidence": (("site", "bin"), [[0.4, 0.8]]), "bin_accuracy": (("site", "bin"), [[0.3, 0.7]])}
    labels = xr.Dataset({**values, "ece": ("site", [0.1])}, {"site": ["digit"]})
    line = plot_reliability(labels, "digit").get_lines()[1]
    assert line.get_xdata().tolist() == [0.4, 0.8]
    assert line.get_ydata().tolist() == [0.3, 0.7]


def test_the_ecdf_of_predicted_data_is_drawn_over_its_band(diagnosis):
    """The line, read back, is the part of u at or below each point; the band is that of 24 uniform numbers."""
    ax = plot_loo_pit(diagnosis.tables["loo_pit"])
    u = diagnosis.tables["loo_pit"].pit.values[0]
    line = ax.get_lines()[1]
    at = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata()[1:-1], [(u <= point).mean() - point for point in at[1:-1]], atol=1e-12)
    edges = ax.collections[0].get_paths()[0].vertices
    band = rank_band(24, 0.99)
    assert edges[:, 1].max() == pytest.approx((band.upper - band.points).max())
    assert ax.get_legend().get_texts()[0].get_text() == "99 % band of all 1"


def test_the_sections_of_a_page_hold_what_was_found(diagnosis):
    sections = diagnosis_sections(diagnosis, ": run")
    assert [section.title for section in sections] == [
        "The guide: run",
        "What the codes carry: run",
        "Simulated data: run",
        "Data predicted from the others: run",
    ]
    first = sections[0].tables[0].rows[0]
    assert first[0] == "z[3]"
    assert first[-1] < 0.75  # sd ratio
    assert "23" not in sections[0].pictures[0].alt.split(";")[1]
    assert sections[0].pictures[0].alt.startswith("Pareto k of 24 data; 1 are above")
    assert len(sections[-1].text) == 1  # there are no weights, as the data share no latent
    (left_out,) = sections[-1].tables[0].rows
    u = diagnosis.tables["loo_pit"].pit.values[0]
    assert left_out[:4] == ["y", 24, pytest.approx(u.mean()), pytest.approx((abs(u - 0.5) <= 0.25).mean())]
    verdict = verdict_of("run", diagnosis)
    assert (verdict.level, verdict.name) == ("care", "run")
    assert list(verdict.findings) == diagnosis.findings

"""The picture of a calibration shows its band, its worst quantities and its verdict."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.colors import to_hex

from pyrometer import EnergyView
from pyrometer.inference.diagnostics.calibration import calibrate
from pyrometer.inference.diagnostics.calibration.plot import plot_calibration
from pyrometer.inference.diagnostics.ecdf_lines import OTHERS
from pyrometer.inference.diagnostics.rank_bands import POINTS
from pyrometer.inference.energy.plots import new_axes

DIMENSIONS = 5


def model(y):
    with pyro.plate("data", len(y)):
        z = pyro.sample("z", dist.Normal(torch.zeros(DIMENSIONS), 2.0).to_event(1))
        pyro.sample("y", dist.Normal(z, 0.5).to_event(1), obs=y)


def guide(narrow):
    def program(y):
        with pyro.plate("data", len(y)):
            pyro.sample("z", dist.Normal(y * 4 / 4.25, narrow * 4.25**-0.5).to_event(1))

    return program


def found(narrow):
    return calibrate(EnergyView(model).bind(torch.zeros(10, DIMENSIONS)), guide(narrow), repeats=20, draws=19)


def drawn_band(ax):
    (vertices,) = (path.vertices for path in ax.collections[0].get_paths())
    columns = [vertices[np.isclose(vertices[:, 0], point), 1] for point in POINTS]
    return tuple(np.array([edge(column) for column in columns]) for edge in (min, max))


def test_a_line_leaves_the_band_exactly_where_the_guide_is_rejected():
    for narrow in (1.0, 0.6):
        calibration = found(narrow)
        ax = plot_calibration(calibration)
        lower, upper = drawn_band(ax)
        np.testing.assert_allclose(lower + POINTS, calibration.band.lower, atol=1e-12)
        np.testing.assert_allclose(upper + POINTS, calibration.band.upper, atol=1e-12)
        lines = [line.get_ydata()[1:-1] for line in ax.lines if len(line.get_xdata()) > 2]
        outside = any(((line < lower - 1e-9) | (line > upper + 1e-9)).any() for line in lines)
        assert outside is not calibration.passed
        assert ax.get_title().startswith("passes" if narrow == 1.0 else "rejected")


def test_the_worst_five_quantities_are_named_in_their_order_and_the_others_are_grey():
    calibration = found(0.6)
    ax = plot_calibration(calibration)
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    order = np.argsort(calibration.table.departure.values)[:5]
    assert names == ["95 % band of all 8", *calibration.table.quantity.values[order]]
    assert names[1] == calibration.worst
    assert sum(to_hex(line.get_color()) == OTHERS for line in ax.lines) == 3


def test_it_draws_into_axes_that_are_given():
    ax = new_axes()
    assert plot_calibration(found(1.0), ax) is ax

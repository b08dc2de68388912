"""The picture of a calibration: how far the ECDF of each quantity's ranks is from uniform, and how far it may be."""

import numpy as np
from matplotlib.axes import Axes

from ...energy.plots import new_axes
from ..rank_bands import ecdf
from .calibration import Calibration

__all__ = ["plot_calibration"]

MOST_NAMED = 5
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
BAND, OTHERS = "#dddddd", "#999999"


def plot_calibration(calibration: Calibration, ax: Axes | None = None) -> Axes:
    r"""The ECDF of u minus u, for every quantity, with the band that all stay inside together if the guide is right.

    Above zero at the left and below at the right, the guide is too narrow; the other way round, too wide; above zero
    throughout, its draws lie too high; below, too low. The worst five quantities have names, the others are grey.

    Args:
        calibration: what ``calibrate`` has found.
        ax: axes to draw into; those of a new figure without.

    Returns:
        The axes; ``.figure.savefig(...)`` writes the picture.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> from pyrometer.inference.diagnostics.calibration import calibrate
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z, 0.5), obs=y)
        >>> def guide(y):
        ...     with pyro.plate("data", len(y)):
        ...         pyro.sample("z", dist.Normal(y * 4 / 4.25, 4.25**-0.5))
        >>> found = calibrate(EnergyView(model).bind(torch.zeros(5)), guide, repeats=20)
        >>> plot_calibration(found).get_ylabel()
        'ECDF of $u$ minus $u$'
    """
    ax = new_axes((7.5, 4.0)) if ax is None else ax
    table, band = calibration.table, calibration.band
    ends = np.array([0.0, *band.points, 1.0])
    lower, upper = (np.pad(edge - band.points, 1) for edge in (band.lower, band.upper))
    of_all = f"{100 * calibration.level:g} % band of all {table.sizes['quantity']}"
    ax.fill_between(ends, lower, upper, color=BAND, linewidth=0, label=of_all)
    ax.axhline(0.0, color="black", linewidth=0.8)
    worst_first = np.argsort(table.departure.values, kind="stable")
    lines = np.pad(ecdf(table.pit.values) - band.points, ((0, 0), (1, 1)))
    for index in worst_first[MOST_NAMED:]:
        ax.plot(ends, lines[index], color=OTHERS, linewidth=0.6, alpha=0.7)
    for index, colour in zip(worst_first, COLOURS, strict=False):
        ax.plot(ends, lines[index], color=colour, linewidth=1.6, label=str(table.quantity.values[index]))
    ax.set(xlabel="$u$, rank of the truth among the draws", ylabel="ECDF of $u$ minus $u$", xlim=(0.0, 1.0))
    ranks = f"{table.sizes['rank']} ranks among {table.attrs['draws']} draws"
    ax.set_title(f"{'passes' if calibration.passed else 'rejected'}: {ranks}", fontsize="medium")
    ax.legend(frameon=False, fontsize="medium", loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the lines
    ax.spines[["top", "right"]].set_visible(False)
    return ax

"""The picture of a calibration: how far the ECDF of each quantity's ranks is from uniform, and how far it may be."""

from matplotlib.axes import Axes

from ...energy.plots import new_axes
from ..ecdf_lines import draw_ecdfs
from .calibration import Calibration

__all__ = ["plot_calibration"]


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
    table = calibration.table
    of_all = f"{100 * calibration.level:g} % band of all {table.sizes['quantity']}"
    draw_ecdfs(ax, table, calibration.band, of_all)
    ax.set_xlabel("$u$, rank of the truth among the draws")
    ranks = f"{table.sizes['rank']} ranks among {table.attrs['draws']} draws"
    ax.set_title(f"{'passes' if calibration.passed else 'rejected'}: {ranks}", fontsize="medium")
    return ax

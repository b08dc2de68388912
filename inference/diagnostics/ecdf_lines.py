"""Lines of a picture: how far the ECDFs of ranks are from uniform, and how far they may be."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from .rank_bands import RankBand, ecdf

__all__ = ["OTHERS", "draw_ecdfs"]

MOST_NAMED = 5
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
BAND, OTHERS = "#dddddd", "#999999"


def draw_ecdfs(ax: Axes, table: xr.Dataset, band: RankBand, label: str) -> None:
    """The ECDF of u minus u of every quantity, over its band; the worst five have names, the others are grey.

    Args:
        ax: axes to draw into.
        table: ``pit`` over ``quantity`` and another dimension, nan where there is none, and ``departure``.
        band: what all lines stay inside together.
        label: of the band.
    """
    ends = np.array([0.0, *band.points, 1.0])
    lower, upper = (np.pad(edge - band.points, 1) for edge in (band.lower, band.upper))
    ax.fill_between(ends, lower, upper, color=BAND, linewidth=0, label=label)
    ax.axhline(0.0, color="black", linewidth=0.8)
    worst_first = np.argsort(table.departure.values, kind="stable")
    lines = np.array([np.pad(ecdf(row[~np.isnan(row)]) - band.points, 1) for row in table.pit.values])
    for index in worst_first[MOST_NAMED:]:
        ax.plot(ends, lines[index], color=OTHERS, linewidth=0.6, alpha=0.7)
    for index, colour in zip(worst_first, COLOURS, strict=False):
        ax.plot(ends, lines[index], color=colour, linewidth=1.6, label=str(table.quantity.values[index]))
    ax.set(ylabel="ECDF of $u$ minus $u$", xlim=(0.0, 1.0))
    ax.legend(frameon=False, fontsize="medium", loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside the lines
    ax.spines[["top", "right"]].set_visible(False)

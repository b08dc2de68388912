"""A function of two coordinates as a map of colours, with contours and a bar."""

import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.ticker import FuncFormatter

__all__ = ["draw_map"]

STEPS = np.array([1, 2, 3, 4, 6, 8, 12, 16, 24, 32])
"""Contours in steps above a round number: close together near the lowest values, where explanations differ."""


def draw_map(ax: Axes, x: np.ndarray, y: np.ndarray, values: np.ndarray, label: str, cap: float | None = None) -> None:
    """Draws values (len(x), len(y)); what is above ``cap`` has the colour of ``cap``.

    Colours follow the square root above the lowest value, are light enough for black contours, and rise in lightness
    alike for every eye and in grey.
    """
    finite = values[np.isfinite(values)]
    low, high = finite.min(), min(finite.max(), math.inf if cap is None else cap)
    beyond = bool((values > high).any())
    shown = np.minimum(values, high).T
    light = ListedColormap(mpl.colormaps["cividis"](np.linspace(0.25, 1.0, 256)))
    # An image for the colours, since as filled polygons they would weigh megabytes in a PDF.
    scale = PowerNorm(0.5, low, high)
    mesh = ax.pcolormesh(x, y, shown, cmap=light, norm=scale, shading="gouraud", rasterized=True)
    levels = contour_levels(low, high)
    if len(levels):
        heights = np.where(np.isfinite(values), values, np.nan).T
        ax.clabel(ax.contour(x, y, heights, levels=levels, colors="black", linewidths=0.7), fontsize=8, fmt="%g")
    figure = ax.get_figure()
    assert figure is not None
    bar = figure.colorbar(mesh, cax=ax.inset_axes((1.04, 0, 0.05, 1)), extend="max" if beyond else "neither")
    bar.set_ticks(levels.tolist())
    bar.ax.minorticks_off()
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda level, _: f"{level:g}"))
    bar.set_label(label)


def contour_levels(low: float, high: float) -> np.ndarray:
    """Round numbers between two values, closer together towards the lower one.

    Example:
        >>> contour_levels(3.1, 9.3)
        array([3.25, 3.5 , 3.75, 4.  , 4.5 , 5.  , 6.  , 7.  , 9.  ])
    """
    wanted = (high - low) / 20
    if not wanted > 0:
        return np.zeros(0)
    power = 10.0 ** math.floor(math.log10(wanted))
    step = power * max(factor for factor in (1, 2, 2.5, 5) if factor * power <= wanted)
    levels = np.round(math.floor(low / step) * step + step * STEPS, 12)
    return levels[(levels > low) & (levels < high)]

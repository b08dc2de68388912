"""The energy along a latent or across two of its elements, with the minima marked."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from torch import Tensor

from .color_map import draw_map
from .minimum import Minimum
from .plots import new_axes
from .section import RISE, Section, section
from .view import BoundView

__all__ = ["plot_energy"]

LINE, LOWEST, OTHER = "#0072b2", "#d55e00", "white"
POINTS = (401, 81)
"""On the grid, along each axis: of one coordinate, and of two."""


def plot_energy(
    view: BoundView,
    latent: str | tuple[Any, ...] | None = None,
    datum: int | None = None,
    given: Mapping[str, Tensor] | None = None,
    minimum: Minimum | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""E in nats along one continuous coordinate, or as a map over two, all else held at the minimiser of E.

    The distinct minima are marked where they lie in these coordinates, at their own energies: ties for the lowest
    alike. Where something else is held, another minimum need not lie on the line.

    Args:
        view: a bound view.
        latent: the name of a continuous latent, or of it and one or two of its elements: ``("code", 0)`` is a line,
            ``("code", 0, 1)`` a map; they count through the flattened value of one datum. A name alone means the only
            element, or the first two; without it the first continuous latent is taken.
        datum: the datum whose latent it is, 0 without, for a latent inside the data plate. Where the data are
            independent its own energy E_n is drawn, else the total.
        given: latents held fixed.
        minimum: what ``view.zero_temperature(given=given)`` has found; without, it is called.
        ax: axes to draw into; those of a new figure without. Limits that have been set on them are those of the
            drawing; otherwise it reaches to where the energy is 8 nats above the lowest, or to the support's ends.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such latent, element or datum, or the latent cannot be moved by itself.

    Example:
        >>> import pyro, torch, pyro.distributions as dist
        >>> from pyrometer import EnergyView
        >>> def model(y):
        ...     with pyro.plate("data", len(y)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 2.0))
        ...         pyro.sample("y", dist.Normal(z**2, 0.5), obs=y)
        >>> ax = plot_energy(EnergyView(model).bind(torch.tensor([0.3, 2.1])), "z", datum=1)
        >>> ax.get_xlabel(), ax.get_ylabel()
        ('z of datum 1', 'energy of datum 1, nats')
    """
    given = dict(given or {})
    view.structure.check_given(given)
    found = section(view, latent, datum, given, minimum or view.zero_temperature(given=given))
    flat = len(found.elements) == 2
    set_already = ax is not None and not (ax.get_autoscalex_on() or (flat and ax.get_autoscaley_on()))
    ax = new_axes((5.6, 4.4) if flat else (6.0, 4.0)) if ax is None else ax
    limits = [ax.get_xlim(), ax.get_ylim()][: len(found.elements)] if set_already else found.limits()
    axes, grid = found.grid(limits, POINTS[flat])
    x, y, energies = axes[0].numpy(), axes[-1].numpy(), grid.numpy()
    label = f"energy{f' of datum {found.datum}' if found.by_datum else ''}, nats"
    if flat:
        draw_map(ax, x, y, energies, label, cap=float(found.minima()[1][0]) + 2 * RISE)
        ax.set(xlim=limits[0], ylim=limits[1], ylabel=found.labels[1])
    else:
        values = np.where(np.isfinite(energies), energies, np.nan)
        ax.plot(x, values, color=LINE, linewidth=1.6)
        ax.set(xlim=limits[0], ylabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    _mark(ax, found)
    ax.set_xlabel(found.labels[0])
    if not found.alone:
        ax.set_title("the other latents at the minimiser", fontsize="medium")
    return ax


def _mark(ax: Axes, found: Section) -> None:
    """The lowest minima as filled stars, the others as hollow circles."""
    points, energies = found.minima()
    ties, converged = found.outcome()
    heights = points[:, 1] if len(found.elements) == 2 else energies
    many = f", {ties} tie" if ties > 1 else ""
    label = f"lowest minimum{many}" if converged else "lowest energy found, not converged"
    style = {"linestyle": "none", "markeredgecolor": "black", "zorder": 3, "clip_on": False}
    ax.plot(points[:ties, 0], heights[:ties], marker="*", color=LOWEST, markersize=14, label=label, **style)
    if len(points) > ties:
        ax.plot(points[ties:, 0], heights[ties:], marker="o", color=OTHER, markersize=7, label="other minima", **style)
    ax.legend(fontsize="medium", framealpha=0.9)
